import constellation.Context;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;

public class Main {
    static final AtomicInteger CALLS = new AtomicInteger();

    static class Mishap extends Exception {
        Mishap(String reason) {
            super(reason);
        }
    }

    static int sink(int[] list, int at) {
        return list[at];
    }

    static Object handler(Map<String, Object> event, Context context) throws Exception {
        String text = (String) event.getOrDefault("text", "");
        int calls = CALLS.incrementAndGet();
        switch ((String) event.get("do")) {
            case "echo": return text;
            case "fail": throw new Mishap("the reason: " + text);
            case "panic": return sink(new int[0], 7);
            case "print":
                System.out.println("out " + text);
                System.err.println("err " + text);
                context.logger.info("logged " + text);
                System.out.print("unended");
                return null;
            case "flood":
                for (int i = 0; i < 20000; i++) System.out.println("line " + i + " of many that nobody will read");
                return "done";
            case "sleep": Thread.sleep(600_000); return null;
            case "exit": System.exit(3); return null;
            case "big": return "x".repeat(Integer.parseInt(text));
            case "size": return text.length();
            case "stream": return Stream.of("one", "tw\"o", "drei ü");
            case "calls": return calls;
            case "env": return System.getenv("COLOUR");
            case "invalid": return Double.NaN;
            case "context":
                Map<String, Object> out = new LinkedHashMap<>();
                out.put("request_id", context.requestId);
                out.put("function_name", context.functionName);
                out.put("function_version", context.functionVersion);
                out.put("tenant", context.tenant);
                out.put("namespace", context.namespace);
                out.put("memory_limit_mb", context.memoryLimitMb);
                out.put("traceparent", context.traceparent);
                out.put("remaining_ms", context.remainingMs());
                out.put("deadline", context.deadline.toEpochMilli() / 1e3);
                return out;
            default: return null;
        }
    }
}
