// @name@: called with the request's JSON; what it returns becomes the answer's `output`.
struct Event: Decodable {
    var name: String?
}

struct Greeting: Encodable {
    let message: String
}

func handler(event: Event, context: Context) throws -> Greeting {
    let name = event.name ?? "world"
    print("greeting \(name)") // shown by `orbit logs @name@`
    return Greeting(message: "Hello, \(name)!")
}
