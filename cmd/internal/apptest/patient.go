package apptest

import (
	"io"
	"net/http"
	"strconv"
	"time"
)

// patient repeats what a server refuses for now, when it says when. [client.Client] repeats a command a few times and a question
// not at all, and a machine without time for its database needs more. Tests that are about refusals have clients of their own.
type patient struct{ *http.Transport }

func newPatient() patient {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost, t.DisableCompression = 64, true
	return patient{t}
}

// RoundTrip implements [http.RoundTripper]. A command has a key, under which it is done once however often it is sent.
func (p patient) RoundTrip(q *http.Request) (*http.Response, error) {
	for began := time.Now(); ; {
		resp, err := p.Transport.RoundTrip(q)
		if err != nil || resp.StatusCode != http.StatusServiceUnavailable || time.Since(began) > waitLong {
			return resp, err
		}
		seconds, notSaid := strconv.Atoi(resp.Header.Get("Retry-After"))
		if notSaid != nil {
			return resp, nil //nolint:nilerr // the answer is one for good
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		select {
		case <-time.After(time.Duration(seconds) * time.Second):
		case <-q.Context().Done():
			return nil, q.Context().Err()
		}
		if q.GetBody != nil {
			body, err := q.GetBody()
			if err != nil {
				return nil, err
			}
			q = q.Clone(q.Context())
			q.Body = body
		}
	}
}

var _ http.RoundTripper = patient{}
