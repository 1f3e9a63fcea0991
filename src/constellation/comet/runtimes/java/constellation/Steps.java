package constellation;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.Callable;

/** What a durable execution does once, whatever happens to it: steps are taken one after the other. */
public final class Steps {
    private final Context context;

    Steps(Context context) {
        this.context = context;
    }

    /** What `work` returned when it ran first; a ConstellationError "step_failed" when it raised. */
    public Object run(String name, Callable<?> work) {
        Map<?, ?> begun = context.ask(Asker.STEP, named(name));
        if (begun.get("seq") == null) return begun.get("output");
        Asker.Fields done = new Asker.Fields().put(Asker.SEQ, begun.get("seq"));
        Object value;
        try {
            value = work.call();
        } catch (Exception error) {
            byte[] raw = Worker.encode(error);
            context.ask(Asker.STEP_DONE, done.put(Asker.ERROR, raw));
            Map<Object, Object> facts = new HashMap<>((Map<?, ?>) Json.parse(new String(raw, StandardCharsets.UTF_8)));
            facts.put("code", "step_failed");
            throw new ConstellationError(facts);
        }
        String raw = Json.write(value);
        context.ask(Asker.STEP_DONE, done.put(Asker.VALUE, raw));
        return Json.parse(raw); // as a later run will have it
    }

    /** Waits up to a year; nothing of the execution runs meanwhile. */
    public void sleep(Duration time) {
        context.ask(Asker.SLEEP, named("sleep").put(Asker.FOR_MS, time.toMillis()));
    }

    /** The payload of the next event of a name; a ConstellationError "timeout" when none came in time (null: within a year). */
    public Object waitForEvent(String name, Duration timeout) {
        Long most = timeout == null ? null : Math.max(1, timeout.toMillis());
        return context.ask(Asker.WAIT, named(name).put(Asker.FOR_MS, most)).get("payload");
    }

    /**
     * The next message of a topic as a function that subscribes to it gets it; its "data" is the payload. Messages count from the
     * step before on. Key, filter and timeout may be null; of a filter each attribute has the text that it must have, a map
     * {"prefix": ...} or a list of these. A ConstellationError "timeout" when none came in time.
     */
    public Map<?, ?> waitForMessage(String topic, String key, Map<String, ?> filter, Duration timeout) {
        Long most = timeout == null ? null : Math.max(1, timeout.toMillis());
        Asker.Fields fields = named(topic).put(Asker.KEY, key).put(Asker.VALUE, filter == null ? null : Json.write(filter));
        return (Map<?, ?>) context.ask(Asker.WAIT_MESSAGE, fields.put(Asker.FOR_MS, most)).get("message");
    }

    private static Asker.Fields named(String name) {
        return new Asker.Fields().put(Asker.NAME, name);
    }
}
