// The situations, for aws-lambda-go.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type Event struct {
	Do   string `json:"do"`
	Text string `json:"text,omitempty"`
}

type Mishap struct{ reason string }

func (m Mishap) Error() string { return m.reason }

var calls int

func handle(ctx context.Context, event Event) (any, error) {
	calls++
	switch event.Do {
	case "echo":
		return event, nil
	case "fail":
		return nil, Mishap{"the reason: bad \"ß\" 💥"}
	case "panic":
		panic(errors.New("out of bounds"))
	case "print":
		fmt.Println("out größe")
		fmt.Fprintln(os.Stderr, "err größe")
		return nil, nil
	case "flood":
		for i := 0; i < 5000; i++ {
			fmt.Println(strings.Repeat("x", 99))
		}
		return "done", nil
	case "sleep":
		for {
			time.Sleep(time.Hour)
		}
	case "exit":
		fmt.Println("bye")
		os.Exit(3)
	case "big":
		size, _ := strconv.Atoi(event.Text)
		return strings.Repeat("x", size), nil
	case "calls":
		return calls, nil
	case "context":
		facts, _ := lambdacontext.FromContext(ctx)
		until, _ := ctx.Deadline()
		return map[string]any{
			"request_id": facts.AwsRequestID, "arn": facts.InvokedFunctionArn, "remaining_ms": time.Until(until).Milliseconds(),
			"name": lambdacontext.FunctionName, "version": lambdacontext.FunctionVersion, "memory": lambdacontext.MemoryLimitInMB,
			"trace": os.Getenv("_X_AMZN_TRACE_ID"), "env": os.Getenv("COLOUR"),
		}, nil
	}
	return nil, nil
}

// What is a reader is streamed.
func stream(event Event) (io.Reader, error) {
	reader, writer := io.Pipe()
	go func() {
		_, _ = writer.Write([]byte("one"))
		_, _ = writer.Write([]byte("drei ü"))
		if event.Do == "midway" {
			_ = writer.CloseWithError(Mishap{"no more"})
			return
		}
		_ = writer.Close()
	}()
	return reader, nil
}

func main() {
	if os.Getenv("BROKEN") != "" {
		fmt.Println("no such thing at the start")
		os.Exit(7)
	}
	if os.Getenv("_HANDLER") == "streams" {
		lambda.Start(stream)
		return
	}
	lambda.Start(func(ctx context.Context, event json.RawMessage) (any, error) {
		var known Event
		if err := json.Unmarshal(event, &known); err != nil {
			return nil, err
		}
		return handle(ctx, known)
	})
}
