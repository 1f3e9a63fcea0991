import constellation.Context

fun handler(event: Map<String, Any?>, context: Context) = mapOf("message" to "Hello, ${event["name"] ?: "world"}!")
