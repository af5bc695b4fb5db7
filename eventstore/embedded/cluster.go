package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	clusterName  = "postgres"
	passwordFile = "postgres.password"
	initPrefix   = "postgres.init-"
)

// cluster is one database cluster and whom it belongs to.
type cluster struct {
	dataDir string // the engine's
	dir     string // Postgres's
	acct    account
	bins    binaries
}

// clusterMajor is the version that made the cluster below dataDir, 0 if there is none yet.
func clusterMajor(dataDir string) (int, error) {
	dir := filepath.Join(dataDir, clusterName)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return 0, nil
	}
	if err != nil {
		return 0, dataDirError(dir, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "PG_VERSION"))
	if errors.Is(err, fs.ErrPermission) {
		return 0, dataDirError(dir, err)
	}
	major, errNumber := strconv.Atoi(strings.TrimSpace(string(text)))
	if err := errors.Join(err, errNumber); err != nil || major <= 0 {
		return 0, &Error{
			Code: CodeDataDirContent, What: fmt.Sprintf("%s holds something that is not a PostgreSQL cluster (no readable PG_VERSION)", dir),
			Remediation: "move it away, or choose another data directory",
		}
	}
	return major, nil
}

// checkOwner: Postgres refuses a cluster that does not belong to its user, in more words and later.
func (c *cluster) checkOwner() error {
	info, err := os.Stat(c.dir)
	if err != nil {
		return dataDirError(c.dir, err)
	}
	if owner := ownerOf(info); owner != c.acct.uid {
		return foreignOwner(c.dir, owner, c.acct.uid)
	}
	return nil
}

func (c *cluster) passwordPath() string { return filepath.Join(c.dataDir, passwordFile) }
