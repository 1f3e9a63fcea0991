// Does what an event says, and answers with a text: what was read, "allowed", or how the error is called.
import constellation.Context;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.stream.Collectors;

public class Main {
    static Object handler(Map<String, Object> event, Context context) {
        String at = String.valueOf(event.get("at"));
        try {
            switch ((String) event.get("do")) {
                case "exists":
                    return Files.exists(Path.of(at)) ? "allowed" : "NoSuchFile";
                case "list":
                    try (var found = Files.list(Path.of(at))) {
                        return found.map(each -> each.getFileName().toString()).collect(Collectors.joining("\n"));
                    }
                case "read":
                    try (var file = new FileInputStream(at)) {
                        return new String(file.readNBytes(8192), StandardCharsets.UTF_8);
                    }
                case "write":
                    new FileOutputStream(at, true).close();
                    return "allowed";
                case "env":
                    return System.getenv().entrySet().stream().map(each -> each.getKey() + "=" + each.getValue()).collect(Collectors.joining("\n"));
                case "connect":
                    try (var socket = new Socket()) {
                        socket.connect(new InetSocketAddress(at.split(" ")[0], Integer.parseInt(at.split(" ")[1])), 2000);
                        return "allowed";
                    }
                default:
                    throw new IllegalArgumentException("unknown");
            }
        } catch (java.io.IOException error) {
            return error.getClass().getSimpleName();
        }
    }
}
