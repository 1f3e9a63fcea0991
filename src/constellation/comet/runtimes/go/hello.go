package main

import "context"

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
	return Greeting{Message: "Hello, " + name + "!"}, nil
}
