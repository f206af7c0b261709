package transforms

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// The bounds of the variables that a configuration may set, which are Redpanda's.
const (
	maxVariables     = 128
	maxVariableName  = 128
	maxVariableValue = 2048

	// ownVariables is what the names of those begin with that tell of topics.
	ownVariables = "REDPANDA_"
)

var errNotVariables = errors.New("the configuration of a module of Redpanda's ABI is a JSON object of texts, which are its environment variables")

// parseVariables reads a configuration as a module of Redpanda's ABI takes it: a JSON
// object whose members are the module's environment variables. No configuration is
// none of them. They come sorted, each as NAME=VALUE.
func parseVariables(config []byte) ([]string, error) {
	if len(bytes.TrimSpace(config)) == 0 {
		return nil, nil
	}

	in := json.NewDecoder(bytes.NewReader(config))
	if open, err := in.Token(); err != nil || open != json.Delim('{') {
		return nil, errNotVariables
	}

	values := map[string]string{}
	for in.More() {
		name, value, err := parseVariable(in)
		if err != nil {
			return nil, err
		}
		if _, twice := values[name]; twice {
			return nil, fmt.Errorf("the variable %q is there twice", name)
		}
		values[name] = value
	}

	if end, err := in.Token(); err != nil || end != json.Delim('}') {
		return nil, errNotVariables
	}
	if _, err := in.Token(); err != io.EOF {
		return nil, errNotVariables
	}
	if len(values) > maxVariables {
		return nil, fmt.Errorf("%d variables exceed the limit of %d", len(values), maxVariables)
	}

	var all []string
	for name, value := range values {
		all = append(all, name+"="+value)
	}
	slices.Sort(all)

	return all, nil
}

// parseVariable reads one member of the object.
func parseVariable(in *json.Decoder) (name, value string, err error) {
	key, err := in.Token()
	if err != nil {
		return "", "", errNotVariables
	}

	name = key.(string) // the name of a member is nothing else
	text, err := in.Token()
	value, isText := text.(string)

	switch {
	case err != nil:
		return "", "", errNotVariables
	case !isText:
		return "", "", fmt.Errorf("the variable %q is not a text; write numbers and the like in quotes", name)
	case name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00"):
		return "", "", fmt.Errorf("the variable %q is not of the form that an environment can have", name)
	case strings.HasPrefix(name, ownVariables):
		return "", "", fmt.Errorf("the variable %q is not for a configuration to set", name)
	case len(name) > maxVariableName || len(value) > maxVariableValue:
		return "", "", fmt.Errorf("the variable %q exceeds the limit: %d bytes for a name, %d for a value", name, maxVariableName, maxVariableValue)
	}

	return name, value, nil
}

// environmentFor are the variables of an instance that runs records of a topic. The
// topic itself is the first that the module may write to.
func (m *Module) environmentFor(topic string) []string {
	if !m.info.Pulls() {
		return nil
	}

	own := []string{ownVariables + "INPUT_TOPIC=" + topic}
	for n, output := range append([]string{topic}, m.routes...) {
		own = append(own, fmt.Sprintf("%sOUTPUT_TOPIC_%d=%s", ownVariables, n, output))
	}

	return append(own, m.variables...)
}
