// @name@: called with the request's JSON; what Handler returns becomes the answer's `output`.
package main

import (
	"context"
	"fmt"
)

type Event struct {
	Name string `json:"name"`
}

type Greeting struct {
	Message string `json:"message"`
}

func Handler(ctx context.Context, event Event) (Greeting, error) {
	name := event.Name
	if name == "" {
		name = "world"
	}
	fmt.Println("greeting", name) // shown by `orbit logs @name@`
	return Greeting{Message: "Hello, " + name + "!"}, nil
}
