package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// lastLine is the last line of text.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return lines[len(lines)-1]
}

// command prepares testrun, as a process of its own, over a module of the files.
func command(t *testing.T, files map[string]string, flags ...string) *exec.Cmd {
	t.Helper()
	dir := t.TempDir()
	files["go.mod"] = "module m\n\ngo 1.26.0\n"
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], append([]string{"-json", "test.json", "-settle", "1s", "--"}, flags...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TESTRUN_AS_COMMAND=1")
	return cmd
}

// runModule runs it to the end.
func runModule(t *testing.T, files map[string]string, flags ...string) (out string, err error) {
	t.Helper()
	cmd := command(t, files, flags...)
	text, err := cmd.Output()
	require.FileExists(t, filepath.Join(cmd.Dir, "test.json"))
	return string(text), err
}

// TestMain lets the test binary stand for the command, so that the tests see its exit status and its children.
func TestMain(m *testing.M) {
	if os.Getenv("TESTRUN_AS_COMMAND") == "1" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestLeavesAreCountedAndTheLastLineSaysSo(t *testing.T) {
	t.Parallel()
	out, err := runModule(t, map[string]string{"a/a_test.go": `package a
import "testing"
func TestOne(t *testing.T) {}
func TestTwo(t *testing.T) { t.Run("x", func(t *testing.T) {}); t.Run("y", func(t *testing.T) {}) }
`, "plain/p.go": "package plain\n"})
	require.NoError(t, err)
	require.Equal(t, "3 passed, 0 failed, 0 skipped", lastLine(out))
	require.NotContains(t, out, "plain")
}

func TestABrokenBuildIsAFailureShownInFull(t *testing.T) {
	t.Parallel()
	out, err := runModule(t, map[string]string{
		"a/a_test.go": "package a\nimport \"testing\"\nfunc TestOne(t *testing.T) {}\n",
		"b/b_test.go": "package b\nfunc x() { return 1 }\n",
		"c/c_test.go": "package c\nimport _ \"m/nowhere\"\n",
	})
	require.Error(t, err)
	require.Contains(t, out, "too many return values")
	require.Contains(t, out, "nowhere")
	require.Equal(t, "1 passed, 2 failed, 0 skipped", lastLine(out))
}

func TestATimeoutFailsEveryTestThatDidNotEnd(t *testing.T) {
	t.Parallel()
	out, err := runModule(t, map[string]string{"a/a_test.go": `package a
import "testing"
func TestGood(t *testing.T) {}
func TestOuter(t *testing.T) { t.Parallel(); t.Run("inner", func(t *testing.T) { print("half a line"); select {} }) }
func TestOther(t *testing.T) { t.Parallel(); select {} }
`}, "-timeout", "1s")
	require.Error(t, err)
	require.Contains(t, out, "test timed out")
	require.Contains(t, out, "--- DID NOT END: TestOuter/inner")
	require.Equal(t, "1 passed, 2 failed, 0 skipped", lastLine(out))
}

func TestASkipIsNamedAndNotGreen(t *testing.T) {
	t.Parallel()
	out, err := runModule(t, map[string]string{"a/a_test.go": `package a
import "testing"
func TestGood(t *testing.T) {}
func TestLazy(t *testing.T) { t.Skip("tomorrow") }
`})
	require.Error(t, err)
	require.Contains(t, out, "tomorrow")
	require.Equal(t, "1 passed, 0 failed, 1 skipped", lastLine(out))
}

func TestAnExitWithoutAFailedTestIsAFailure(t *testing.T) {
	t.Parallel()
	out, err := runModule(t, map[string]string{"a/a_test.go": `package a
import ("os"; "testing")
func TestMain(m *testing.M) { m.Run(); os.Exit(3) }
func TestGood(t *testing.T) {}
`})
	require.Error(t, err)
	require.Equal(t, "1 passed, 1 failed, 0 skipped", lastLine(out))
}

func TestAFailureOfTheOuterTestAloneCounts(t *testing.T) {
	t.Parallel()
	out, err := runModule(t, map[string]string{"a/a_test.go": `package a
import "testing"
func TestOuter(t *testing.T) { t.Run("inner", func(t *testing.T) {}); t.Error("after all") }
func TestDeep(t *testing.T) { t.Run("x", func(t *testing.T) { t.Error("deep") }) }
`})
	require.Error(t, err)
	require.Contains(t, out, "after all")
	require.Equal(t, "1 passed, 2 failed, 0 skipped", lastLine(out))
}

func TestNothingRunIsNotGreen(t *testing.T) {
	t.Parallel()
	out, err := runModule(t, map[string]string{"plain/p.go": "package plain\n"})
	require.Error(t, err)
	require.Equal(t, "0 passed, 0 failed, 0 skipped", lastLine(out))
}

func TestABadFlagIsAFailure(t *testing.T) {
	t.Parallel()
	out, err := runModule(t, map[string]string{"a/a_test.go": "package a\nimport \"testing\"\nfunc TestOne(t *testing.T) {}\n"},
		"-no-such-flag")
	require.Error(t, err)
	require.Equal(t, "0 passed, 1 failed, 0 skipped", lastLine(out))
}

func TestAProcessLeftBehindIsEndedAndCounts(t *testing.T) {
	t.Parallel()
	pidFile := filepath.Join(t.TempDir(), "pid")
	out, err := runModule(t, map[string]string{"a/a_test.go": `package a
import ("os/exec"; "testing")
func TestGood(t *testing.T) {
	if err := exec.Command("setsid", "--fork", "sh", "-c", "echo $$ > ` + pidFile + `; exec sleep 300").Run(); err != nil { t.Fatal(err) }
}
`})
	require.Error(t, err)
	require.Contains(t, out, "left processes behind")
	require.Contains(t, out, "sleep")
	require.Equal(t, "1 passed, 1 failed, 0 skipped", lastLine(out))
	pid, err := os.ReadFile(pidFile)
	require.NoError(t, err)
	_, err = os.Stat("/proc/" + strings.TrimSpace(string(pid)))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestNoiseOnTheStreamIsShownAndIgnored(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	r := newReport(&out)
	for _, line := range []string{
		"go: downloading something\n", "{\"not\":\"an event\"}\n", "{broken\n",
		`{"Action":"run","Package":"p","Test":"T"}`, `{"Action":"pass","Package":"p","Test":"T"}`,
		`{"Action":"pass","Package":"p","Elapsed":0.1}`,
	} {
		r.line([]byte(line))
	}
	r.finish(nil, []string{"m/roottest"})
	require.Contains(t, out.String(), "go: downloading something")
	require.Contains(t, out.String(), "not run, needs root: m/roottest")
	require.Equal(t, "1 passed, 0 failed, 0 skipped", lastLine(out.String()))
	require.True(t, r.tally.green())
}

func TestAPackageCutShortIsAFailure(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	r := newReport(&out)
	r.line([]byte(`{"Action":"start","Package":"p"}`))
	r.line([]byte(`{"Action":"run","Package":"p","Test":"T"}`))
	r.finish(os.ErrProcessDone, nil)
	require.Equal(t, "0 passed, 1 failed, 0 skipped", lastLine(out.String()))
}

func TestPackagesThatNeedRootAreSetApart(t *testing.T) {
	t.Parallel()
	all := []string{"m/a", "m/a/roottest", "m/roottester"}
	run, needRoot := splitRoot(all, false)
	require.Equal(t, []string{"m/a", "m/roottester"}, run)
	require.Equal(t, []string{"m/a/roottest"}, needRoot)
	run, needRoot = splitRoot(all, true)
	require.Equal(t, all, run)
	require.Empty(t, needRoot)
}

func TestStatOfAProcessWithAnOddName(t *testing.T) {
	t.Parallel()
	c, ppid, ok := parseStat([]byte("12 (a) (b c) Z 7 1 1\n"))
	require.True(t, ok)
	require.Equal(t, child{pid: 12, name: "a) (b c", zombie: true}, c)
	require.Equal(t, 7, ppid)
	_, _, ok = parseStat([]byte("garbage"))
	require.False(t, ok)
}

func TestLeftoversThatGoByThemselvesAreNoFailure(t *testing.T) {
	t.Parallel()
	cmd := command(t, map[string]string{"a/a_test.go": `package a
import ("os/exec"; "testing")
func TestGood(t *testing.T) {
	if err := exec.Command("setsid", "--fork", "sleep", "0.3").Run(); err != nil { t.Fatal(err) }
}
`})
	cmd.Args[slices.Index(cmd.Args, "1s")] = "1m"
	text, err := cmd.Output()
	out := string(text)
	require.NoError(t, err, out)
	require.Equal(t, "1 passed, 0 failed, 0 skipped", lastLine(out))
}

// sleeper is a test that tells its pid through a fifo and then never ends.
func sleeper(fifo string) map[string]string {
	return map[string]string{"a/a_test.go": `package a
import ("os"; "strconv"; "testing")
func TestSleeper(t *testing.T) {
	println("started")
	if err := os.WriteFile("` + fifo + `", []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil { t.Fatal(err) }
	select {}
}
`}
}

func TestAnInterruptEndsTheTestsAndStillCounts(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	cmd := command(t, sleeper(fifo))
	var out strings.Builder
	cmd.Stdout = &out
	require.NoError(t, cmd.Start())
	pid, err := os.ReadFile(fifo) // Blocks until the test runs.
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.Error(t, cmd.Wait())
	require.Equal(t, "0 passed, 1 failed, 0 skipped", lastLine(out.String()))
	require.NoDirExists(t, "/proc/"+string(pid))
}

func TestAReaderThatWentAwayDoesNotEndTheRun(t *testing.T) {
	t.Parallel()
	cmd := command(t, map[string]string{
		"a/a_test.go": "package a\nimport \"testing\"\nfunc TestOne(t *testing.T) {}\n",
		"b/b_test.go": "package b\nimport \"testing\"\nfunc TestOne(t *testing.T) {}\n",
	})
	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	cmd.Stdout = w
	require.NoError(t, cmd.Run())
	require.NoError(t, w.Close())
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("12 (a) (b c) Z 7 1 1\n"))
	f.Add([]byte("1 () S 0"))
	f.Add([]byte(") ("))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, ppid, ok := parseStat(text)
		if !ok {
			require.Zero(t, c)
			require.Zero(t, ppid)
		}
	})
}
