package cli_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/cli"
)

// addSecret answers with the length of the value as the description, so that a test sees that it arrived whole.
func (f *fake) addSecret(r *http.Request) (int, any) {
	in := decode[wire.AddSecret](r)
	f.change()
	s := &wire.Secret{
		ID: f.newID(), CompanyID: uuid.MustParse(r.PathValue("id")), Name: in.Name, Description: strconv.Itoa(len(in.Value)) + " bytes", Status: "active",
		LatestVersion: 1, Versions: []wire.SecretVersion{{Version: 1, Status: "active", CreatedAt: f.now, ChangedAt: f.now}}, CreatedAt: f.now, UpdatedAt: f.now,
		Version: 1, Position: f.position,
	}
	f.secrets = append(f.secrets, s)
	return http.StatusCreated, s
}

func (f *fake) listSecrets(*http.Request) (int, any) { return list(values(f.secrets)) }

func (f *fake) secret(r *http.Request) *wire.Secret {
	return find(f.secrets, r, func(s *wire.Secret) uuid.UUID { return s.ID })
}

func (f *fake) getSecret(r *http.Request) (int, any) {
	if s := f.secret(r); s != nil {
		return http.StatusOK, s
	}
	return notFound("secret")
}

func (f *fake) rotateSecret(r *http.Request) (int, any) {
	s, in := f.secret(r), decode[wire.AddSecretVersion](r)
	f.change()
	s.LatestVersion++
	s.Description, s.UpdatedAt = strconv.Itoa(len(in.Value))+" bytes", f.now
	s.Versions = append(s.Versions, wire.SecretVersion{Version: s.LatestVersion, Status: "active"})
	return http.StatusCreated, s
}

func (f *fake) switchSecret(r *http.Request) (int, any) {
	s := f.secret(r)
	n, err := strconv.Atoi(r.PathValue("version"))
	if err != nil || n < 1 || n > len(s.Versions) {
		return problem(http.StatusNotFound, "secret_version_not_found", "it has no such version")
	}
	f.change()
	s.Versions[n-1].Status = map[string]string{"disable": "disabled", "enable": "active", "destroy": "destroyed"}[r.PathValue("verb")]
	return http.StatusOK, s
}

func (f *fake) destroySecret(r *http.Request) (int, any) {
	s := f.secret(r)
	f.change()
	s.Status = "destroyed"
	return http.StatusOK, s
}

func (f *fake) secretReads(*http.Request) (int, any) {
	lease := uuid.MustParse("00000000-0000-4000-8000-000000000077")
	return list([]wire.SecretRead{{Version: 2, Purpose: "acquire", ReadAt: f.now, LeaseID: &lease, Position: 9}})
}

// fakeKeysets knows one data directory, data, with two keys.
type fakeKeysets struct{}

func (fakeKeysets) List(dataDir string) ([]cli.SealingKey, error) {
	if filepath.Base(dataDir) != "data" {
		return nil, &cli.StartError{Code: "keyset_missing", What: "there is no keyset.json in " + dataDir, Cause: os.ErrNotExist, Remediation: "name the server's data directory with --data-dir"}
	}
	return []cli.SealingKey{{ID: 7}, {ID: 4294967295, Primary: true}}, nil
}

func (fakeKeysets) Rotate(string) ([]cli.SealingKey, error) {
	return nil, errors.New("data directory is in use")
}

func (fakeKeysets) Destroy(_ string, id uint32) ([]cli.SealingKey, error) {
	return []cli.SealingKey{{ID: id, Doomed: true}, {ID: 4294967295, Primary: true}}, nil
}
