package main

import (
	"context"
	"reflect"
	"sort"
)

type Event struct {
	Before any `json:"before"`
	After  any `json:"after"`
}

// Change is one difference. What is nil was not there, or is there no more.
type Change struct {
	Path   string `json:"path"`
	Before any    `json:"before"`
	After  any    `json:"after"`
}

// Handler tells where two JSON documents differ, member by member.
func Handler(_ context.Context, event Event) ([]Change, error) {
	return compare("$", event.Before, event.After, []Change{}), nil
}

func compare(path string, before, after any, found []Change) []Change {
	old, isObject := before.(map[string]any)
	fresh, isStill := after.(map[string]any)
	if !isObject || !isStill {
		if !reflect.DeepEqual(before, after) {
			found = append(found, Change{path, before, after})
		}
		return found
	}
	for _, name := range names(old, fresh) {
		found = compare(path+"."+name, old[name], fresh[name], found)
	}
	return found
}

func names(objects ...map[string]any) []string {
	all := map[string]bool{}
	for _, object := range objects {
		for name := range object {
			all[name] = true
		}
	}
	sorted := make([]string, 0, len(all))
	for name := range all {
		sorted = append(sorted, name)
	}
	sort.Strings(sorted)
	return sorted
}
