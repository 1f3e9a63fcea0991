api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
while event=$(curl -sS -D /tmp/head "$api/next"); do
    id=$(sed -n 's/^Lambda-Runtime-Aws-Request-Id: *\([^[:space:]]*\).*/\1/p' /tmp/head)
    name=$(printf '%s' "$event" | sed -n 's/.*"name": *"\([^"]*\)".*/\1/p')
    curl -sS -o /dev/null -d "{\"message\": \"Hello, ${name:-world}!\"}" "$api/$id/response"
done
