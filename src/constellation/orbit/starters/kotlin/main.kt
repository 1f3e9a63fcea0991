// @name@: called with the request's JSON; what it returns becomes the answer's `output`.
import constellation.Context

fun handler(event: Map<String, Any?>, context: Context): Any {
    val name = event["name"] ?: "world"
    println("greeting $name") // shown by `orbit logs @name@`
    return mapOf("message" to "Hello, $name!")
}
