using LinearAlgebra

# Solves a system of linear equations, and says how far the answer may be trusted.
function handler(event, context)
    rows = event["matrix"]
    matrix = [Float64(rows[i][j]) for i in eachindex(rows), j in eachindex(first(rows))]
    size(matrix, 1) == size(matrix, 2) || throw(DimensionMismatch("the matrix is $(join(size(matrix), " x ")), not square"))
    solution = matrix \ Float64.(event["right"])
    context.logger.info("condition ", cond(matrix))
    Dict("solution" => round.(solution; digits = 9), "determinant" => round(det(matrix); digits = 9))
end
