package embedded

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// versionLimit bounds a program that only says what it is.
const versionLimit = 30 * time.Second

// minMajor is the oldest PostgreSQL the engine's SQL is tested with.
const minMajor = 15

// binaries is one installed PostgreSQL.
type binaries struct {
	dir, postgres, initdb string
	major                 int
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// findBinaries chooses the newest usable installation, or the one whose major version made the cluster (want, 0 for a new one).
func findBinaries(ctx context.Context, binDir string, want int) (binaries, error) {
	var found []binaries
	var broken error
	for _, dir := range candidateDirs(ctx, binDir) {
		b, err := inspectBinaries(ctx, dir)
		if err != nil {
			broken = cmp.Or(broken, err) // the first one's, which is one line
			continue
		}
		found = append(found, b)
	}
	if len(found) == 0 {
		return binaries{}, notInstalled(binDir, broken)
	}
	slices.SortStableFunc(found, func(a, b binaries) int { return b.major - a.major })
	if want == 0 {
		if newest := found[0]; newest.major >= minMajor {
			return newest, nil
		}
		return binaries{}, &Error{
			Code: CodeWrongVersion, What: fmt.Sprintf("PostgreSQL %d in %s is too old, %d is the oldest that works", found[0].major, found[0].dir, minMajor),
			Remediation: "install a newer one (Debian: apt-get install postgresql), or use a server of yours with --database-url",
		}
	}
	for _, b := range found {
		if b.major == want {
			return b, nil
		}
	}
	return binaries{}, &Error{
		Code: CodeWrongVersion, What: fmt.Sprintf("the data directory was made by PostgreSQL %d, installed is %d (%s)", want, found[0].major, found[0].dir),
		Remediation: fmt.Sprintf("install that version (Debian: apt-get install postgresql-%d), or move the data with pg_upgrade", want),
	}
}

func notInstalled(binDir string, broken error) error {
	if binDir != "" {
		return &Error{
			Code: CodeNotInstalled, What: fmt.Sprintf("no usable PostgreSQL in %s", binDir), Cause: broken,
			Remediation: "name the directory that holds postgres and initdb",
		}
	}
	what := "no PostgreSQL is installed"
	if broken != nil {
		what = "no usable PostgreSQL is installed"
	}
	return &Error{
		Code: CodeNotInstalled, What: what, Cause: broken,
		Remediation: "install one (Debian: apt-get install postgresql), or use a server of yours with --database-url",
	}
}

// candidateDirs lists where postgres may be, without duplicates, the packages' own places before PATH.
func candidateDirs(ctx context.Context, binDir string) []string {
	if binDir != "" {
		return []string{binDir}
	}
	var dirs []string
	add := func(postgres string) {
		real, err := filepath.EvalSymlinks(postgres)
		if err != nil || slices.Contains(dirs, filepath.Dir(real)) {
			return
		}
		dirs = append(dirs, filepath.Dir(real))
	}
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/postgres", "/usr/pgsql-*/bin/postgres", "/usr/libexec/postgresql*/postgres", "/usr/local/pgsql/bin/postgres"} {
		matches, _ := filepath.Glob(pattern)
		for _, m := range matches {
			add(m)
		}
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		add(path)
	}
	if path, err := exec.LookPath("pg_config"); err == nil {
		ctx, cancel := context.WithTimeout(ctx, versionLimit)
		defer cancel()
		cmd := exec.CommandContext(ctx, path, "--bindir")
		cmd.Env = cleanEnv("/usr/bin")
		if out, err := cmd.Output(); err == nil {
			add(filepath.Join(strings.TrimSpace(string(out)), "postgres"))
		}
	}
	return dirs
}

func inspectBinaries(ctx context.Context, dir string) (binaries, error) {
	b := binaries{dir: dir, postgres: filepath.Join(dir, "postgres"), initdb: filepath.Join(dir, "initdb")}
	for _, path := range []string{b.postgres, b.initdb} {
		if info, err := os.Stat(path); err != nil {
			return b, err
		} else if info.IsDir() || info.Mode()&0o111 == 0 {
			return b, fmt.Errorf("%s is not executable", path)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, versionLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.postgres, "--version")
	cmd.Env = cleanEnv(dir)
	out, err := cmd.Output()
	if err != nil {
		return b, fmt.Errorf("%s --version: %w", b.postgres, err)
	}
	m := versionPattern.FindSubmatch(out)
	if m == nil {
		return b, fmt.Errorf("%s --version: no version in %q", b.postgres, out)
	}
	b.major, err = strconv.Atoi(string(m[1]))
	return b, err
}
