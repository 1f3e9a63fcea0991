import Foundation

struct Event: Decodable {
    var `do`: String
    var text: String?
}

struct Facts: Encodable {
    let request_id, function_name, function_version, tenant, namespace, traceparent: String
    let memory_limit_mb, remaining_ms: Int
    let deadline: Double
}

enum Answer: Encodable {
    case nothing, text(String), number(Int), real(Double), facts(Facts)

    func encode(to encoder: Encoder) throws {
        var out = encoder.singleValueContainer()
        switch self {
        case .nothing: try out.encodeNil()
        case .text(let value): try out.encode(value)
        case .number(let value): try out.encode(value)
        case .real(let value): try out.encode(value)
        case .facts(let value): try out.encode(value)
        }
    }
}

private let lock = NSLock()
private var calls = 0

private func counted() -> Int {
    lock.lock()
    defer { lock.unlock() }
    calls += 1
    return calls
}

func handler(event: Event, context: Context) throws -> Answer {
    let count = counted(), text = event.text ?? ""
    switch event.do {
    case "echo": return .text(text)
    case "fail": throw Failure("Mishap", "the reason: \(text)")
    case "print":
        print("out \(text)")
        FileHandle.standardError.write(Data("err \(text)\n".utf8))
        context.log("INFO", "logged \(text)")
        print("unended", terminator: "")
        return .nothing
    case "flood":
        for line in 0..<20000 { print("line \(line) of many that nobody will read") }
        return .text("done")
    case "sleep":
        sleep(600)
        return .nothing
    case "exit": exit(3)
    case "big": return .text(String(repeating: "x", count: Int(text)!))
    case "size": return .number(text.utf8.count)
    case "stream":
        ["one", "tw\"o", "drei ü"].forEach { context.chunk($0) }
        return .nothing
    case "calls": return .number(count)
    case "env": return .text(ProcessInfo.processInfo.environment["COLOUR"] ?? "")
    case "invalid": return .real(.nan)
    case "context":
        return .facts(Facts(
            request_id: context.requestId, function_name: context.functionName, function_version: context.functionVersion,
            tenant: context.tenant, namespace: context.namespace, traceparent: context.traceparent,
            memory_limit_mb: context.memoryLimitMb, remaining_ms: context.remainingMs,
            deadline: context.deadline.timeIntervalSince1970
        ))
    default: return .nothing
    }
}
