import constellation.Context;
import java.util.Map;

public class Main {
    static Object handler(Map<String, Object> event, Context context) {
        return Map.of("message", "Hello, " + event.getOrDefault("name", "world") + "!");
    }
}
