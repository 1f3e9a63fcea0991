package constellation;

import java.util.Map;

/**
 * The platform did not do what was asked. `code` is stable: "not_found", "version_conflict", "recursion", "timeout"; with
 * "function_error" and "step_failed", `type`, `message` and `remoteStack` are those of what raised.
 */
public class ConstellationError extends RuntimeException {
    private static final long serialVersionUID = 1;
    public final String code, type, remoteStack;

    ConstellationError(Map<?, ?> facts) {
        super(String.valueOf(facts.get("message")));
        code = String.valueOf(facts.get("code"));
        type = String.valueOf(facts.get("type"));
        remoteStack = facts.get("stack") == null ? "" : String.valueOf(facts.get("stack"));
    }

    /** The execution waits, and this run of it ends here. Not to be caught: nothing that follows would count. */
    static final class Suspended extends Error {
        private static final long serialVersionUID = 1;

        Suspended() {
            super("the execution waits; this run of it is over", null, false, false);
        }
    }
}
