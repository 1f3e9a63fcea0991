package constellation;

import java.time.Instant;
import java.util.HashMap;
import java.util.Map;

/** What a handler may know of its call. */
public final class Context {
    public final String requestId, functionName, functionVersion, tenant, namespace;
    public final int memoryLimitMb;
    public final Instant deadline;
    public final String traceId, spanId, traceparent;
    public final Logger logger;
    private final long untilNs;
    private final Asker asker;
    private final int callId;

    Context(Init init, String requestId, String traceId, String spanId, long remainingMs, Logger logger, Asker asker, int callId) {
        this.asker = asker;
        this.callId = callId;
        this.requestId = requestId;
        this.functionName = init.name;
        this.functionVersion = init.version;
        this.tenant = init.tenant;
        this.namespace = init.namespace;
        this.memoryLimitMb = init.memoryLimitMb;
        this.deadline = Instant.now().plusMillis(remainingMs);
        this.traceId = traceId;
        this.spanId = spanId;
        this.traceparent = "00-" + traceId + "-" + spanId + "-01";
        this.logger = logger;
        this.untilNs = System.nanoTime() + remainingMs * 1_000_000;
    }

    /** Values kept between calls. */
    public State state() {
        return new State(this, null);
    }

    /** What a durable execution does once. */
    public Steps steps() {
        return new Steps(this);
    }

    /** Calls a function of the same namespace; a ConstellationError "function_error" when it raised. */
    public Object invoke(String name, Object payload) {
        return ask(Asker.INVOKE, new Asker.Fields().put(Asker.NAME, name).put(Asker.VALUE, Json.write(payload))).get("output");
    }

    /** Has a function called later, durably; returns the id of the job. */
    public String invokeAsync(String name, Object payload) {
        Asker.Fields fields = new Asker.Fields().put(Asker.NAME, name).put(Asker.VALUE, Json.write(payload));
        return (String) ask(Asker.INVOKE_ASYNC, fields).get("id");
    }

    /** Publishes a message to a topic of the same namespace; returns its id once it is committed. */
    public String publish(String topic, Object payload) {
        return publish(topic, payload, null, null, null);
    }

    /** Publishes what a message is about with it, and texts that filters of subscriptions look at; either may be null. */
    public String publish(String topic, Object payload, String key, Map<String, String> attributes) {
        return publish(topic, payload, key, attributes, null);
    }

    /** With an idempotency key, repetitions are one message. */
    public String publish(String topic, Object payload, String key, Map<String, String> attributes, String idempotencyKey) {
        Map<String, Object> message = new HashMap<>();
        message.put("payload", payload);
        if (key != null) message.put("key", key);
        if (attributes != null) message.put("attributes", attributes);
        if (idempotencyKey != null) message.put("idempotency_key", idempotencyKey);
        Asker.Fields fields = new Asker.Fields().put(Asker.NAME, topic).put(Asker.VALUE, Json.write(message));
        return (String) ask(Asker.PUBLISH, fields).get("id");
    }

    Map<?, ?> ask(int op, Asker.Fields fields) {
        return asker.ask(callId, op, fields);
    }

    /** How long the caller still waits. */
    public long remainingMs() {
        return Math.max(0, (untilNs - System.nanoTime()) / 1_000_000);
    }
}
