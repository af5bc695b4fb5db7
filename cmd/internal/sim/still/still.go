// Package still makes a Go runtime that leaves nothing to chance inside a bubble of testing/synctest, for programs that are
// built with it by -overlay. The Go that is installed stays as it is.
//
// Virtual time and one goroutine at a time are not enough for a run to be repeated exactly: a select among several cases
// that are ready, the order of a map, timers of the same instant, the order of math/rand, and the moment at which the
// runtime takes a goroutine off its processor are all left to chance or to the machine's speed. Here all but math/rand follow
// from the bubble's time, and no goroutine is taken off its processor before it waits for something; math/rand/v2 draws from a
// generator of the bubble's own, which starts anew with each bubble. (What draws from a generator must not be what a program
// does once and for all, such as filling a cache of encoding/json: the first bubble in a process would draw more than the next.)
// With GOMAXPROCS=1 and no garbage collection within the bubble, a run is then a function of what the program puts into it.
package still

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Edit is a change of one place of a file: Old stands there once, else it is an error.
type Edit struct{ File, Old, New string }

// edits are what is changed of the runtime and of math/rand/v2.
var edits = []Edit{
	{"runtime/synctest.go", "type synctestBubble struct {\n", "type synctestBubble struct {\n\tchance  uint64 // the state of its generator\n"},
	{"runtime/rand.go", "func rand() uint64 {\n", `func rand() uint64 {
	if b := getg().bubble; b != nil {
		return mixed(uint64(b.now))
	}
`},
	{"runtime/rand.go", "\tmp.cheaprand = rand()\n", "\tmp.cheaprand = bootstrapRand()\n"},
	{"runtime/rand.go", "// rand32 is uint32(rand()), called from compiler-generated code.\n", `// mixed is the last step of splitmix64.
//
//go:nosplit
func mixed(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// draw is the next value of the bubble's generator.
//
//go:nosplit
func (b *synctestBubble) draw() uint64 {
	b.chance += 0x9e3779b97f4a7c15
	return mixed(b.chance)
}

// mathRand is what math/rand/v2 draws from.
//
//go:linkname mathRand
func mathRand() uint64 {
	if b := getg().bubble; b != nil {
		return b.draw()
	}
	return rand()
}

// rand32 is uint32(rand()), called from compiler-generated code.
`},
	{"math/rand/v2/rand.go", "//go:linkname runtime_rand runtime.rand\n", "//go:linkname runtime_rand runtime.mathRand\n"},
	// The hash of a map's keys is the same in each process, so that its order is.
	{"runtime/rand.go", "\tif len(startupRand) >= 16 &&\n", "\tif seed[0] = 1; len(startupRand) < 0 &&\n"},
	{"runtime/rand.go", "\t\tif readRandom(seed[:]) != len(seed) || allZero(seed[:]) {\n", "\t\tif allZero(seed[:]) {\n"},
	{"runtime/select.go", "\t\tj := cheaprandn(uint32(norder + 1))\n", `		var j uint32
		if b := getg().bubble; b != nil {
			j = uint32(mixed(uint64(b.now)+uint64(norder)) % uint64(norder+1))
		} else {
			j = cheaprandn(uint32(norder + 1))
		}
`},
	{"runtime/time.go", "\t\t\tt.rand = cheaprand()\n", `			t.rand = cheaprand()
			if b := getg().bubble; b != nil {
				t.rand = uint32(mixed(uint64(b.now) + uint64(t.when)))
			}
`},
	// A goroutine runs until it waits, however slow the machine is.
	{"runtime/proc.go", "const forcePreemptNS = 10 * 1000 * 1000 // 10ms\n", "const forcePreemptNS = 1 << 60\n"},
}

// Overlay is what -overlay reads: files in place of others.
type Overlay struct{ Replace map[string]string }

// Runtime puts the changed files of the installed runtime into dir, and returns them as an overlay.
func Runtime(ctx context.Context, dir string) (Overlay, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return Overlay{}, fmt.Errorf("ask where Go is: %w", err)
	}
	o, err := Changed(filepath.Join(strings.TrimSpace(string(out)), "src"), dir, edits)
	if err != nil {
		return o, fmt.Errorf("mend the edits of package still for this release of Go: %w", err)
	}
	return o, nil
}

// Changed puts the files of a directory, changed by edits, into another one.
func Changed(from, to string, edits []Edit) (Overlay, error) {
	o := Overlay{Replace: map[string]string{}}
	texts := map[string]string{}
	for _, e := range edits {
		text, there := texts[e.File]
		if !there {
			b, err := os.ReadFile(filepath.Join(from, e.File))
			if err != nil {
				return o, fmt.Errorf("read a source: %w", err)
			}
			text = string(b)
		}
		if n := strings.Count(text, e.Old); n != 1 {
			return o, fmt.Errorf("%s has %d places that read %q, not one", e.File, n, e.Old)
		}
		texts[e.File] = strings.Replace(text, e.Old, e.New, 1)
	}
	for file, text := range texts {
		name := filepath.Join(to, strings.ReplaceAll(file, "/", "-"))
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return o, fmt.Errorf("write a changed source: %w", err)
		}
		o.Replace[filepath.Join(from, file)] = name
	}
	return o, nil
}

// Write writes the overlay for -overlay.
func (o Overlay) Write(file string) error {
	text, err := json.Marshal(o)
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write an overlay: %w", err)
	}
	return nil
}
