handler(event, context) = Dict("message" => "Hello, $(event === nothing ? "world" : get(event, "name", "world"))!")
