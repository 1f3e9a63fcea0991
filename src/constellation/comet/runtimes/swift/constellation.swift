// What a function in Swift is compiled with, and what is between its handler and the worker, which is C.
//
//     func handler(event: Event, context: Context) throws -> Answer
//
// `Event` is whatever JSONDecoder can make, `Answer` whatever JSONEncoder can write. What the handler throws is the error of
// the call. A streamed answer is what it gave to context.chunk().

import Foundation

public final class Context {
    public let requestId, functionName, functionVersion, tenant, namespace: String
    public let traceId, spanId, traceparent: String
    public let memoryLimitMb: Int
    public let deadline: Date
    fileprivate var hasChunks = false
    private let call: UnsafeMutablePointer<ct_context>
    private let answer: OpaquePointer

    fileprivate init(_ call: UnsafeMutablePointer<ct_context>, _ answer: OpaquePointer) {
        let facts = call.pointee
        requestId = String(cString: facts.request_id)
        functionName = String(cString: facts.function_name)
        functionVersion = String(cString: facts.function_version)
        tenant = String(cString: facts.tenant)
        namespace = String(cString: facts.namespace_name)
        traceId = String(cString: facts.trace_id)
        spanId = String(cString: facts.span_id)
        traceparent = String(cString: facts.traceparent)
        memoryLimitMb = Int(facts.memory_limit_mb)
        deadline = Date(timeIntervalSince1970: facts.deadline)
        self.call = call
        self.answer = answer
    }

    /// How long the caller still waits.
    public var remainingMs: Int { Int(ct_remaining_ms(call)) }

    /// A line of the log, of this call's own even where several run at a time.
    public func log(_ level: String, _ text: String) {
        ct__log_text(call, level, text)
    }

    /// Sends a piece of a streamed answer, waiting while the caller does not take it.
    public func chunk(_ piece: some DataProtocol) {
        let bytes = Array(piece)
        ct_chunk(answer, bytes, bytes.count)
        hasChunks = true
    }

    public func chunk(_ piece: String) {
        chunk(Array(piece.utf8))
    }
}

/// An error with a type and words of its own.
public struct Failure: Error, CustomStringConvertible {
    public let type, description: String

    public init(_ type: String, _ message: String) {
        self.type = type
        description = message
    }
}

/// What the worker calls.
func answered<Event: Decodable, Answer: Encodable>(
    _ event: UnsafeRawBufferPointer, _ call: UnsafeMutablePointer<ct_context>, _ answer: OpaquePointer,
    by handler: (Event, Context) throws -> Answer
) -> CInt {
    let context = Context(call, answer)
    do {
        let decoder = JSONDecoder()
        let value = try decoder.decode(Event.self, from: Data(event))
        let output = try handler(value, context)
        if context.hasChunks { return 0 }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.withoutEscapingSlashes]
        let written = try encoder.encode(output)
        written.withUnsafeBytes { bytes in
            ct_add_bytes(answer, bytes.bindMemory(to: CChar.self).baseAddress, bytes.count)
        }
        return 0
    } catch {
        let type = (error as? Failure)?.type ?? String(describing: Swift.type(of: error))
        let stack = Thread.callStackSymbols.joined(separator: "\n")
        ct__fail_with(answer, type, words(error), stack)
        return -1
    }
}

private func words(_ error: Error) -> String {
    switch error {
    case EncodingError.invalidValue(_, let context):
        return "the output is not JSON: \(place(context.codingPath)): \(context.debugDescription)"
    case DecodingError.keyNotFound(let key, let context):
        return "the event has no \(key.stringValue) at \(place(context.codingPath))"
    case DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context), DecodingError.dataCorrupted(let context):
        return "the event is another at \(place(context.codingPath)): \(context.debugDescription)"
    default:
        return String(describing: error)
    }
}

private func place(_ path: [CodingKey]) -> String {
    path.reduce("$") { found, key in
        key.intValue.map { "\(found)[\($0)]" } ?? "\(found).\(key.stringValue)"
    }
}
