// @name@: called with the request's JSON; what it returns becomes the answer's `output`.
import constellation.Context

object Main:
  def handler(event: java.util.Map[String, Any], context: Context): Any =
    val name = event.getOrDefault("name", "world")
    println(s"greeting $name") // shown by `orbit logs @name@`
    java.util.Map.of("message", s"Hello, $name!")
