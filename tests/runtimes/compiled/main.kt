import constellation.Context
import java.util.concurrent.atomic.AtomicInteger
import kotlin.system.exitProcess

class Mishap(reason: String) : Exception(reason)

val calls = AtomicInteger()

fun sink(list: List<Int>, at: Int) = list[at]

fun handler(event: Map<String, Any?>, context: Context): Any? {
    val text = event["text"] as? String ?: ""
    val count = calls.incrementAndGet()
    return when (event["do"]) {
        "echo" -> text
        "fail" -> throw Mishap("the reason: $text")
        "panic" -> sink(emptyList(), 7)
        "print" -> {
            println("out $text")
            System.err.println("err $text")
            context.logger.info("logged $text")
            print("unended")
            null
        }
        "flood" -> {
            repeat(20000) { println("line $it of many that nobody will read") }
            "done"
        }
        "sleep" -> Thread.sleep(600_000)
        "exit" -> exitProcess(3)
        "big" -> "x".repeat(text.toInt())
        "size" -> text.length
        "stream" -> sequenceOf("one", "tw\"o", "drei ü").iterator()
        "calls" -> count
        "env" -> System.getenv("COLOUR")
        "invalid" -> Double.NaN
        "context" -> mapOf(
            "request_id" to context.requestId, "function_name" to context.functionName,
            "function_version" to context.functionVersion, "tenant" to context.tenant, "namespace" to context.namespace,
            "memory_limit_mb" to context.memoryLimitMb, "traceparent" to context.traceparent,
            "remaining_ms" to context.remainingMs(), "deadline" to context.deadline.toEpochMilli() / 1e3,
        )
        else -> null
    }
}
