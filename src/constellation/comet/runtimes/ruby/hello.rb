def handler(event, context)
  name = event&.fetch("name", "world") || "world"
  { message: "Hello, #{name}!" }
end
