import constellation.Context
import java.util.concurrent.atomic.AtomicInteger
import scala.jdk.CollectionConverters.*

class Mishap(reason: String) extends Exception(reason)

object Main:
  val calls = AtomicInteger()

  def sink(list: Array[Int], at: Int): Int = list(at)

  def handler(event: java.util.Map[String, Any], context: Context): Any =
    val text = event.getOrDefault("text", "").asInstanceOf[String]
    val count = calls.incrementAndGet()
    event.get("do") match
      case "echo" => text
      case "fail" => throw Mishap(s"the reason: $text")
      case "panic" => sink(Array(), 7)
      case "print" =>
        println(s"out $text")
        System.err.println(s"err $text")
        context.logger.info(s"logged $text")
        print("unended")
        null
      case "flood" =>
        for i <- 1 to 20000 do println(s"line $i of many that nobody will read")
        "done"
      case "sleep" => Thread.sleep(600000)
      case "exit" => System.exit(3)
      case "big" => "x" * text.toInt
      case "size" => text.length
      case "stream" => Iterator("one", "tw\"o", "drei ü").asJava
      case "calls" => count
      case "env" => System.getenv("COLOUR")
      case "invalid" => Double.NaN
      case "context" =>
        Map[String, Any](
          "request_id" -> context.requestId, "function_name" -> context.functionName,
          "function_version" -> context.functionVersion, "tenant" -> context.tenant, "namespace" -> context.namespace,
          "memory_limit_mb" -> context.memoryLimitMb, "traceparent" -> context.traceparent,
          "remaining_ms" -> context.remainingMs(), "deadline" -> context.deadline.toEpochMilli / 1e3
        ).asJava
      case _ => null
