# @name@: called with the request's JSON; what it returns becomes the answer's `output`.

def handler(event, context)
  name = event && event["name"] || "world"
  puts "greeting #{name}" # shown by `orbit logs @name@`
  { message: "Hello, #{name}!" }
end
