struct Event: Decodable {
    var name: String?
}

struct Greeting: Encodable {
    let message: String
}

func handler(event: Event, context: Context) throws -> Greeting {
    Greeting(message: "Hello, \(event.name ?? "world")!")
}
