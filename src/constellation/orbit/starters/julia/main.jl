# @name@: called with the request's JSON; what it returns becomes the answer's `output`.
function handler(event, context)
    name = event === nothing ? "world" : get(event, "name", "world")
    println("greeting $name") # shown by `orbit logs @name@`
    Dict("message" => "Hello, $name!")
end
