package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/cli"
)

// terminal is a pair of ends: what a person types and sees, and what a program has as its stdin.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = person.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = program.Close() })
	return person, program
}

func echoes(t *testing.T, tty *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	require.NoError(t, err)
	return state.Lflag&unix.ECHO != 0
}

func callOnTerminal(ctx context.Context, t *testing.T, f *fake, program *os.File) (code chan int, stdout *bytes.Buffer) {
	t.Helper()
	stdout, code = &bytes.Buffer{}, make(chan int, 1)
	var stderr bytes.Buffer
	env := map[string]string{"TENURE_SERVER": f.URL, "TENURE_API_KEY": "admin", "HOME": t.TempDir()}
	go func() {
		code <- cli.Main(ctx, cli.Deps{
			Version: "test", Stdin: program, Stdout: stdout, Stderr: &stderr, Env: func(name string) string { return env[name] },
		}, []string{"secret", "add", "typed", "--company", "acme"})
	}()
	for look := time.NewTicker(time.Millisecond); echoes(t, program); {
		select {
		case got := <-code:
			require.Fail(t, "it ended without asking", "code %d: %s", got, &stderr)
		case <-look.C:
		}
	}
	return code, stdout
}

func TestASecretThatIsTypedIsNotShown(t *testing.T) {
	t.Parallel()
	f := newFake()
	defer f.Close()
	f.companies = []*wire.Company{{ID: f.newID(), Name: "acme"}}
	person, program := terminal(t)
	code, stdout := callOnTerminal(t.Context(), t, f, program)
	_, err := person.WriteString("MARKER\n")
	require.NoError(t, err)
	require.Equal(t, 0, <-code)
	require.Contains(t, stdout.String(), "6 bytes")
	require.True(t, echoes(t, program))
	_, err = program.WriteString("end\n")
	require.NoError(t, err)
	seen := make([]byte, 1000)
	n, err := person.Read(seen)
	require.NoError(t, err)
	require.NotContains(t, string(seen[:n]), "MARKER")
}

func TestWhoInterruptsTheTypingGetsTheTerminalBack(t *testing.T) {
	t.Parallel()
	f := newFake()
	defer f.Close()
	person, program := terminal(t)
	ctx, cancel := context.WithCancel(t.Context())
	code, _ := callOnTerminal(ctx, t, f, program)
	cancel()
	require.NotEqual(t, 0, <-code)
	require.True(t, echoes(t, program))
	_, err := person.WriteString("\n") // what still reads ends
	require.NoError(t, err)
	require.Empty(t, f.secrets)
}
