package conformance

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// WriteTable writes the report for a person: a line for each check with the sentence that it stands for, and under one that
// failed what was seen.
func (r Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintf(t, "RESULT\tDRIVER\tCHECK\tCONTRACT\n")
	counts := map[Status]int{}
	for _, one := range r.Results {
		counts[one.Status]++
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", word(one.Status), cmp.Or(one.Driver, "-"), one.Check, one.Sentence)
		if one.Detail != "" {
			fmt.Fprintf(t, "\t\t\t  %s: %s\n", map[Status]string{Fail: "but", NotApplicable: "since", Pass: "note"}[one.Status], one.Detail)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%d passed, %d failed, %d not applicable\n", counts[Pass], counts[Fail], counts[NotApplicable])
	return err
}

func word(s Status) string {
	switch s {
	case Pass:
		return "pass"
	case Fail:
		return "FAIL"
	case NotApplicable:
		return "n/a"
	}
	return string(s)
}

// WriteJSON writes the report for a program.
func (r Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
