package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// domainMay are the packages that the domain may import from outside. What is missing is missing on purpose: no context,
// net, os, io, log, sync, database/sql, crypto/rand, math/rand.
var domainMay = []string{
	"bytes", "cmp", "crypto/sha256", "encoding", "encoding/base64", "encoding/binary", "encoding/hex", "encoding/json",
	"errors", "fmt", "hash", "iter", "maps", "math", "math/bits", "reflect", "regexp", "slices", "sort", "strconv",
	"strings", "time", "unicode", "unicode/utf8",
	"github.com/google/uuid", "github.com/segmentio/encoding/json",
}

// impure are the names of allowed packages that read a clock, make something random or write somewhere. For uuid the list
// is the other way round, since the domain takes ids and never makes one.
var impure = watch{
	"time": oneOf("Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer", "Local", "LoadLocation"),
	"fmt":  oneOf("Print", "Printf", "Println", "Scan", "Scanf", "Scanln"),
	"github.com/google/uuid": noneOf("UUID", "UUIDs", "NullUUID", "Nil", "Max", "Parse", "ParseBytes", "MustParse", "FromBytes",
		"Validate", "Variant", "Version", "NewSHA1", "NameSpaceDNS", "NameSpaceOID", "NameSpaceURL", "NameSpaceX500"),
}

// CheckPurity holds the packages of the domain to their lists. Helpers for tests (domain/domaintest) are exempt.
func CheckPurity(packages []Package) ([]string, error) {
	var broken []string
	for _, p := range packages {
		if !under(p.Rel(), "domain") || strings.HasSuffix(p.ImportPath, "test") {
			continue
		}
		for _, imported := range p.Imports {
			if _, ours := within(imported); !ours && !slices.Contains(domainMay, imported) {
				broken = append(broken, fmt.Sprintf("%s imports %s: it is not on the list of the domain (cmd/internal/archtest/purity.go)", p.Rel(), imported))
			}
		}
		uses, err := packageUses(p, impure)
		if err != nil {
			return nil, err
		}
		for _, use := range uses {
			broken = append(broken, fmt.Sprintf("%s: %s: the domain is pure; what it needs comes in the command", p.Rel(), use))
		}
	}
	return broken, nil
}
