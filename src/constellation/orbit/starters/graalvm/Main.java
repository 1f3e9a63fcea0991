// @name@: called with the request's JSON; what it returns becomes the answer's `output`.
import constellation.Context;
import java.util.Map;

public class Main {
    static Object handler(Map<String, Object> event, Context context) {
        Object name = event.getOrDefault("name", "world");
        System.out.println("greeting " + name); // shown by `orbit logs @name@`
        return Map.of("message", "Hello, " + name + "!");
    }
}
