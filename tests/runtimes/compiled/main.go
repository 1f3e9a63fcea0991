package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"constellation"
)

type Event struct {
	Do   string          `json:"do"`
	Text string          `json:"text"`
	Rest json.RawMessage `json:"rest"`
}

type Mishap struct{ reason string }

func (m *Mishap) Error() string { return "the reason: " + m.reason }

var calls int

func sink(list []int, at int) int { return list[at] }

func Handler(ctx context.Context, event Event) (any, error) {
	call := constellation.FromContext(ctx)
	calls++
	switch event.Do {
	case "echo":
		return event.Text, nil
	case "fail":
		return nil, fmt.Errorf("%w", &Mishap{event.Text})
	case "panic":
		return sink([]int{}, 7), nil
	case "print":
		fmt.Println("out", event.Text)
		fmt.Fprintln(os.Stderr, "err", event.Text)
		call.Logger.Info("logged " + event.Text)
		fmt.Print("unended")
		return nil, nil
	case "flood":
		for i := 0; i < 20000; i++ {
			fmt.Println("line", i, "of many that nobody will read")
		}
		return "done", nil
	case "sleep":
		time.Sleep(600 * time.Second)
	case "exit":
		os.Exit(3)
	case "big":
		size, _ := strconv.Atoi(event.Text)
		return strings.Repeat("x", size), nil
	case "size":
		return len(event.Text), nil
	case "stream":
		pieces := make(chan string)
		go func() {
			defer close(pieces)
			for _, piece := range []string{"one", "tw\"o", "drei ü"} {
				pieces <- piece
			}
		}()
		return pieces, nil
	case "reader":
		return strings.NewReader("read"), nil
	case "calls":
		return calls, nil
	case "env":
		return os.Getenv("COLOUR"), nil
	case "invalid":
		return json.RawMessage("{no json"), nil
	case "context":
		if _, has := ctx.Deadline(); !has {
			return nil, errors.New("no deadline")
		}
		return map[string]any{
			"request_id": call.RequestID, "function_name": call.FunctionName, "function_version": call.FunctionVersion,
			"tenant": call.Tenant, "namespace": call.Namespace, "memory_limit_mb": call.MemoryLimitMB,
			"traceparent": call.Trace.Traceparent, "remaining_ms": call.RemainingMS(),
			"deadline": float64(call.Deadline.UnixMilli()) / 1e3,
		}, nil
	}
	return nil, nil
}
