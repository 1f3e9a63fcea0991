import constellation.Context

object Main:
  def handler(event: java.util.Map[String, Any], context: Context): Any =
    java.util.Map.of("message", s"Hello, ${event.getOrDefault("name", "world")}!")
