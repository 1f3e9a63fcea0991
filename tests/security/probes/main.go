// Does natively what an event says, and answers with a text: what was read, "allowed", or the number of the error.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
)

type Event struct {
	Do string `json:"do"`
	At string `json:"at"`
}

func ended(err error) (string, error) {
	var number syscall.Errno
	if errors.As(err, &number) {
		return fmt.Sprintf("errno %d", int(number)), nil
	}
	if err != nil {
		return err.Error(), nil
	}
	return "allowed", nil
}

func Handler(_ context.Context, event Event) (string, error) {
	switch event.Do {
	case "exists":
		_, err := os.Stat(event.At)
		return ended(err)
	case "list":
		found, err := os.ReadDir(event.At)
		if err != nil {
			return ended(err)
		}
		names := ""
		for _, each := range found {
			names += each.Name() + "\n"
		}
		return names, nil
	case "read":
		text, err := os.ReadFile(event.At)
		if err != nil {
			return ended(err)
		}
		return string(text), nil
	case "write":
		_, err := os.OpenFile(event.At, os.O_WRONLY|os.O_CREATE, 0o600)
		return ended(err)
	case "env":
		return strings.Join(os.Environ(), "\n"), nil
	case "connect":
		host, port, _ := strings.Cut(event.At, " ")
		_, err := net.Dial("tcp4", net.JoinHostPort(host, port))
		return ended(err)
	case "syscall":
		var n [7]int
		fmt.Sscan(event.At, &n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &n[6])
		_, _, number := syscall.Syscall6(uintptr(n[0]), uintptr(n[1]), uintptr(n[2]), uintptr(n[3]), uintptr(n[4]), uintptr(n[5]), uintptr(n[6]))
		if number != 0 {
			return ended(number)
		}
		return "allowed", nil
	}
	return "", errors.New("unknown: " + event.Do)
}
