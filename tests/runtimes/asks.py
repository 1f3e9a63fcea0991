"""What each language's client of the platform is asked to do: the same handler, in the language's own words.

It keeps, changes and lists keys; calls functions; publishes messages; takes steps when it is told to. `{"durable": true}` makes it wait a
moment and for the event "go". Its output is the same in every language.
"""

from __future__ import annotations

ASKS = {
    "python": """
def handler(event, context):
    state, out = context.state, []
    version = state.put("a/1", {"x": 1})
    out.append(state.entry("a/1").value)
    state.put("a/1", 2, if_version=version)
    try:
        state.put("a/1", 3, if_version=version)
    except Exception as error:
        out.append(error.code)
    state.put("a/2", "\u2603", ttl_s=3600)
    page = state.list("a/", limit=1)
    out.append([page.items[0]["key"], page.next, state.list("a/", after=page.next).items[0]["key"]])
    out.append([state.get("a/2"), state.delete("a/2"), state.delete("a/2"), state.get("a/2")])
    state.store("shared").put("k", 5)
    out.append(state.store("shared").get("k"))
    out.append(context.invoke("echo", {"n": 1}))
    for name in ("raises", "nobody", context.function_name):
        try:
            context.invoke(name)
        except Exception as error:
            out.append([error.code, error.type if error.code == "function_error" else ""])
    out.append(len(context.invoke("echo", 1, mode="async")))
    out.append(len(context.publish("news", {"n": 1}, key="k", attributes={"is": "new"})))
    out.append(context.publish("news", None, idempotency_key="i") == context.publish("news", 2, idempotency_key="i"))
    try:
        context.publish("nothing", 1)
    except Exception as error:
        out.append(error.code)
    if event and event.get("durable"):
        steps = context.steps
        out.append(steps.run("one", lambda: [1]))
        steps.sleep(0.2)

        def bad():
            raise ValueError("no")

        try:
            steps.run("bad", bad)
        except Exception as error:
            out.append([error.code, error.type])
        out.append(steps.wait_for_event("go", 60))
        try:
            steps.wait_for_event("never", 0.2)
        except Exception as error:
            out.append(error.code)
        steps.run("tell", lambda: context.publish("news", 7, key="w", attributes={"is": "old"}))
        out.append(steps.wait_for_message("news", key="w", filter={"is": [{"prefix": "o"}]}, timeout=60)["data"])
        try:
            steps.wait_for_message("news", key="none", timeout=0.2)
        except Exception as error:
            out.append(error.code)
    return out
""",
    "node": """
exports.handler = async (event, context) => {
  const state = context.state, out = [];
  const version = await state.put('a/1', { x: 1 });
  out.push((await state.entry('a/1')).value);
  await state.put('a/1', 2, { if_version: version });
  try { await state.put('a/1', 3, { if_version: version }); } catch (error) { out.push(error.code); }
  await state.put('a/2', '\u2603', { ttl_s: 3600 });
  const page = await state.list('a/', { limit: 1 });
  out.push([page.items[0].key, page.next, (await state.list('a/', { after: page.next })).items[0].key]);
  out.push([await state.get('a/2'), await state.delete('a/2'), await state.delete('a/2'), await state.get('a/2')]);
  await state.store('shared').put('k', 5);
  out.push(await state.store('shared').get('k'));
  out.push(await context.invoke('echo', { n: 1 }));
  for (const name of ['raises', 'nobody', context.function_name])
    try { await context.invoke(name); } catch (error) {
      out.push([error.code, error.code === 'function_error' ? error.type : '']);
    }
  out.push((await context.invoke('echo', 1, { mode: 'async' })).length);
  out.push((await context.publish('news', { n: 1 }, { key: 'k', attributes: { is: 'new' } })).length);
  const idempotency_key = 'i';
  out.push(await context.publish('news', null, { idempotency_key }) === await context.publish('news', 2, { idempotency_key }));
  try { await context.publish('nothing', 1); } catch (error) { out.push(error.code); }
  if (event?.durable) {
    const steps = context.steps;
    out.push(await steps.run('one', () => [1]));
    await steps.sleep(0.2);
    try {
      await steps.run('bad', async () => { const e = new Error('no'); e.name = 'ValueError'; throw e; });
    } catch (error) { out.push([error.code, error.type]); }
    out.push(await steps.wait_for_event('go', 60));
    try { await steps.wait_for_event('never', 0.2); } catch (error) { out.push(error.code); }
    await steps.run('tell', () => context.publish('news', 7, { key: 'w', attributes: { is: 'old' } }));
    out.push((await steps.wait_for_message('news', { key: 'w', filter: { is: [{ prefix: 'o' }] }, timeout: 60 })).data);
    try { await steps.wait_for_message('news', { key: 'none', timeout: 0.2 }); } catch (error) { out.push(error.code); }
  }
  return out;
};
""",
    "ruby": """
class ValueError < StandardError; end

def handler(event, context)
  state, out = context.state, []
  version = state.put("a/1", { x: 1 })
  out << state.entry("a/1").value
  state.put("a/1", 2, if_version: version)
  begin
    state.put("a/1", 3, if_version: version)
  rescue => error
    out << error.code
  end
  state.put("a/2", "\u2603", ttl_s: 3600)
  page = state.list("a/", limit: 1)
  out << [page.items[0]["key"], page.next, state.list("a/", after: page.next).items[0]["key"]]
  out << [state.get("a/2"), state.delete("a/2"), state.delete("a/2"), state.get("a/2")]
  state.store("shared").put("k", 5)
  out << state.store("shared").get("k")
  out << context.invoke("echo", { n: 1 })
  ["raises", "nobody", context.function_name].each do |name|
    context.invoke(name)
  rescue => error
    out << [error.code, error.code == "function_error" ? error.type : ""]
  end
  out << context.invoke("echo", 1, mode: "async").size
  out << context.publish("news", { n: 1 }, key: "k", attributes: { is: "new" }).size
  out << (context.publish("news", nil, idempotency_key: "i") == context.publish("news", 2, idempotency_key: "i"))
  begin
    context.publish("nothing", 1)
  rescue => error
    out << error.code
  end
  if event && event["durable"]
    steps = context.steps
    out << steps.run("one") { [1] }
    steps.sleep(0.2)
    begin
      steps.run("bad") { raise ValueError, "no" }
    rescue => error
      out << [error.code, error.type]
    end
    out << steps.wait_for_event("go", 60)
    begin
      steps.wait_for_event("never", 0.2)
    rescue => error
      out << error.code
    end
    steps.run("tell") { context.publish("news", 7, key: "w", attributes: { is: "old" }) }
    out << steps.wait_for_message("news", key: "w", filter: { is: [{ prefix: "o" }] }, timeout: 60)["data"]
    begin
      steps.wait_for_message("news", key: "none", timeout: 0.2)
    rescue => error
      out << error.code
    end
  end
  out
end
""",
    "go": """
package main

import (
	"context"
	"errors"
	"time"

	"constellation"
)

type valueError struct{}

func (valueError) Error() string { return "no" }

func codeOf(err error) []any {
	var told *constellation.Error
	if !errors.As(err, &told) {
		return []any{"", ""}
	}
	kind := ""
	if told.Code == "function_error" || told.Code == "step_failed" {
		kind = told.Type
	}
	if kind == "main.valueError" {
		kind = "ValueError"
	}
	return []any{told.Code, kind}
}

func Handler(ctx context.Context, event struct{ Durable bool }) ([]any, error) {
	call, out := constellation.FromContext(ctx), []any{}
	state := call.State()
	version, err := state.Put("a/1", map[string]int{"x": 1})
	if err != nil {
		return nil, err
	}
	entry, err := state.Entry("a/1")
	if err != nil {
		return nil, err
	}
	out = append(out, entry.Value)
	if _, err = state.Put("a/1", 2, constellation.IfVersion(version)); err != nil {
		return nil, err
	}
	_, err = state.Put("a/1", 3, constellation.IfVersion(version))
	out = append(out, codeOf(err)[0])
	if _, err = state.Put("a/2", "\u2603", constellation.TTL(time.Hour)); err != nil {
		return nil, err
	}
	page, _ := state.List("a/", constellation.Limit(1))
	rest, _ := state.List("a/", constellation.After(page.Next))
	out = append(out, []any{page.Items[0].Key, page.Next, rest.Items[0].Key})
	var snow, left any
	_, _ = state.Get("a/2", &snow)
	first, _ := state.Delete("a/2")
	second, _ := state.Delete("a/2")
	_, _ = state.Get("a/2", &left)
	out = append(out, []any{snow, first, second, left})
	if _, err = state.Store("shared").Put("k", 5); err != nil {
		return nil, err
	}
	var shared, echoed any
	_, _ = state.Store("shared").Get("k", &shared)
	if err = call.Invoke("echo", map[string]int{"n": 1}, &echoed); err != nil {
		return nil, err
	}
	out = append(out, shared, echoed)
	for _, name := range []string{"raises", "nobody", call.FunctionName} {
		out = append(out, codeOf(call.Invoke(name, nil, nil)))
	}
	id, err := call.InvokeAsync("echo", 1)
	out = append(out, len(id))
	told, failed := call.Publish("news", constellation.Message{
		Payload: map[string]int{"n": 1}, Key: "k", Attributes: map[string]string{"is": "new"}})
	if failed != nil {
		return nil, failed
	}
	sent, _ := call.Publish("news", constellation.Message{IdempotencyKey: "i"})
	again, _ := call.Publish("news", constellation.Message{Payload: 2, IdempotencyKey: "i"})
	_, nothing := call.Publish("nothing", constellation.Message{Payload: 1})
	out = append(out, len(told), sent == again, codeOf(nothing)[0])
	if event.Durable && err == nil {
		steps := call.Steps()
		var one, paid any
		if err = steps.Run("one", &one, func() (any, error) { return []int{1}, nil }); err != nil {
			return nil, err
		}
		if err = steps.Sleep(200 * time.Millisecond); err != nil {
			return nil, err
		}
		bad := steps.Run("bad", nil, func() (any, error) { return nil, valueError{} })
		if err = steps.WaitForEvent("go", time.Minute, &paid); err != nil {
			return nil, err
		}
		late := steps.WaitForEvent("never", 200*time.Millisecond, nil)
		told := constellation.Message{Payload: 7, Key: "w", Attributes: map[string]string{"is": "old"}}
		if err = steps.Run("tell", nil, func() (any, error) { return call.Publish("news", told) }); err != nil {
			return nil, err
		}
		var news struct{ Data int }
		old := map[string]any{"is": []any{map[string]string{"prefix": "o"}}}
		if err = steps.WaitForMessage("news", constellation.MessageWait{Key: "w", Filter: old, Timeout: time.Minute}, &news); err != nil {
			return nil, err
		}
		none := steps.WaitForMessage("news", constellation.MessageWait{Key: "none", Timeout: 200 * time.Millisecond}, nil)
		out = append(out, one, codeOf(bad), paid, codeOf(late)[0], news.Data, codeOf(none)[0])
	}
	return out, err
}
""",
    "java": """
import constellation.ConstellationError;
import constellation.Context;
import constellation.State;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

public class Main {
    static class ValueError extends RuntimeException {
        ValueError(String message) { super(message); }
    }

    static List<Object> codeOf(Runnable work) {
        try {
            work.run();
        } catch (ConstellationError error) {
            boolean isOf = error.code.equals("function_error") || error.code.equals("step_failed");
            return List.of(error.code, isOf ? error.type.replace("Main$", "") : "");
        }
        return List.of();
    }

    static Object handler(Map<String, Object> event, Context context) {
        State state = context.state();
        List<Object> out = new ArrayList<>();
        long version = state.put("a/1", Map.of("x", 1));
        out.add(state.entry("a/1").value());
        state.put("a/1", 2, version, null);
        out.add(codeOf(() -> state.put("a/1", 3, version, null)).get(0));
        state.put("a/2", "\u2603", null, Duration.ofHours(1));
        State.Keys page = state.list("a/", 1, null);
        out.add(List.of(page.items().get(0), page.next(), state.list("a/", 10, page.next()).items().get(0)));
        out.add(Arrays.asList(state.get("a/2"), state.delete("a/2"), state.delete("a/2"), state.get("a/2")));
        state.store("shared").put("k", 5);
        out.add(state.store("shared").get("k"));
        out.add(context.invoke("echo", Map.of("n", 1)));
        for (String name : List.of("raises", "nobody", context.functionName)) out.add(codeOf(() -> context.invoke(name, null)));
        out.add(context.invokeAsync("echo", 1).length());
        out.add(context.publish("news", Map.of("n", 1), "k", Map.of("is", "new")).length());
        out.add(context.publish("news", null, null, null, "i").equals(context.publish("news", 2, null, null, "i")));
        out.add(codeOf(() -> context.publish("nothing", 1)).get(0));
        if (Boolean.TRUE.equals(event.get("durable"))) {
            out.add(context.steps().run("one", () -> List.of(1)));
            context.steps().sleep(Duration.ofMillis(200));
            out.add(codeOf(() -> context.steps().run("bad", () -> { throw new ValueError("no"); })));
            out.add(context.steps().waitForEvent("go", Duration.ofMinutes(1)));
            out.add(codeOf(() -> context.steps().waitForEvent("never", Duration.ofMillis(200))).get(0));
            context.steps().run("tell", () -> context.publish("news", 7, "w", Map.of("is", "old")));
            Map<String, ?> old = Map.of("is", List.of(Map.of("prefix", "o")));
            out.add(context.steps().waitForMessage("news", "w", old, Duration.ofMinutes(1)).get("data"));
            out.add(codeOf(() -> context.steps().waitForMessage("news", "none", null, Duration.ofMillis(200))).get(0));
        }
        return out;
    }
}
""",
    "rust": """
use crate::constellation::{Context, Error, Message, MessageWait, Put, Value};
use std::time::Duration;

fn code_of<T>(result: Result<T, Error>) -> Vec<Value> {
    let Err(error) = result else { return vec![] };
    let is_of = ["function_error", "step_failed"].contains(&error.code());
    vec![error.code().into(), if is_of { error.kind() } else { "" }.into()]
}

pub fn handler(event: Value, context: &Context) -> Result<Value, Error> {
    let (state, mut out) = (context.state(), Vec::<Value>::new());
    let version = state.put("a/1", Value::object([("x", 1)]))?;
    out.push(state.entry("a/1")?.map(|entry| entry.value).into());
    state.put_with("a/1", 2, Put { if_version: Some(version), ..Put::default() })?;
    let again = state.put_with("a/1", 3, Put { if_version: Some(version), ..Put::default() });
    out.push(code_of(again).remove(0));
    state.put_with("a/2", "\u2603", Put { ttl: Some(Duration::from_secs(3600)), ..Put::default() })?;
    let page = state.list("a/", 1, None)?;
    let next = page.next.unwrap_or_default();
    let rest = state.list("a/", 10, Some(&next))?;
    out.push(vec![Value::from(page.items[0].as_str()), next.as_str().into(), rest.items[0].as_str().into()].into());
    let snow = state.get("a/2")?;
    let (first, second) = (state.delete("a/2", None)?, state.delete("a/2", None)?);
    out.push(vec![Value::from(snow), first.into(), second.into(), state.get("a/2")?.into()].into());
    state.store("shared").put("k", 5)?;
    out.push(state.store("shared").get("k")?.into());
    out.push(context.invoke("echo", Value::object([("n", 1)]))?);
    for name in ["raises", "nobody", context.function_name.as_str()] {
        out.push(code_of(context.invoke(name, Value::Null)).into());
    }
    out.push(context.invoke_async("echo", 1)?.len().into());
    let attributes = [("is".to_string(), "new".to_string())].into();
    let message = Message { key: "k".into(), attributes, ..Message::default() };
    out.push(context.publish_with("news", Value::object([("n", 1)]), message)?.len().into());
    let once = || Message { idempotency_key: Some("i".into()), ..Message::default() };
    let sent = context.publish_with("news", Value::Null, once())?;
    out.push((sent == context.publish_with("news", 2, once())?).into());
    out.push(code_of(context.publish("nothing", 1)).remove(0));
    if event.get("durable").as_bool() == Some(true) {
        let steps = context.steps();
        out.push(steps.run("one", || Ok::<_, Error>(vec![1]))?);
        steps.sleep(Duration::from_millis(200))?;
        out.push(code_of(steps.run("bad", || Err::<Value, _>(Error::new("ValueError", "no")))).into());
        out.push(steps.wait_for_event("go", Some(Duration::from_secs(60)))?);
        out.push(code_of(steps.wait_for_event("never", Some(Duration::from_millis(200)))).remove(0));
        let attributes = [("is".to_string(), "old".to_string())].into();
        let told = Message { key: "w".into(), attributes, ..Message::default() };
        steps.run("tell", || context.publish_with("news", 7, told))?;
        let filter = [("is".to_string(), Value::object([("prefix", "o")]))].into();
        let wait = MessageWait { key: Some("w".into()), filter, timeout: Some(Duration::from_secs(60)) };
        out.push(steps.wait_for_message("news", wait)?.get("data").clone());
        let wait = MessageWait { key: Some("none".into()), timeout: Some(Duration::from_millis(200)), ..MessageWait::default() };
        out.push(code_of(steps.wait_for_message("news", wait)).remove(0));
    }
    Ok(out.into())
}
""",
}
ASKS["deno"] = ASKS["bun"] = ASKS["node"].replace("exports.handler =", "export const handler =")

PLAIN = [
    {"x": 1},
    "version_conflict",
    ["a/1", "a/1", "a/2"],
    ["\u2603", True, False, None],
    5,
    {"n": 1},
    ["function_error", "ValueError"],
    ["not_found", ""],
    ["recursion", ""],
    36,
    36,
    True,
    "topic_not_found",
]
DURABLE = [*PLAIN, [1], ["step_failed", "ValueError"], {"paid": 1}, "timeout", 7, "timeout"]
