// Package tap is what the validation programs of runtime-tools use of a package that Debian does not have.
package tap

import (
	"encoding/json"
	"fmt"
	"strings"
)

// T counts tests.
type T struct{ count int }

func New() *T { return &T{} }

func (t *T) Header(count int) { fmt.Println("TAP version 13") }

func (t *T) Ok(passed bool, description string) {
	t.count++
	verdict := "ok"
	if !passed {
		verdict = "not ok"
	}
	fmt.Printf("%s %d - %s\n", verdict, t.count, description)
}

func (t *T) Pass(description string) { t.Ok(true, description) }

func (t *T) Fail(description string) { t.Ok(false, description) }

// Todo marks tests whose failure is expected; here they count as any other.
func (t *T) Todo() *T { return t }

func (t *T) Skip(count int, description string) {
	for range count {
		t.count++
		fmt.Printf("ok %d # SKIP %s\n", t.count, description)
	}
}

func (t *T) AutoPlan() { fmt.Printf("1..%d\n", t.count) }

func (t *T) Diagnostic(message string) {
	for _, line := range strings.Split(message, "\n") {
		fmt.Println("# " + line)
	}
}

func (t *T) Diagnosticf(format string, values ...interface{}) { t.Diagnostic(fmt.Sprintf(format, values...)) }

func (t *T) YAML(value interface{}) error {
	text, err := json.Marshal(value)
	fmt.Printf("  ---\n  %s\n  ...\n", text)
	return err
}
