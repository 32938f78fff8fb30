package ingest

import (
	"context"
	"errors"
	"testing"

	"tidemill/internal/kafka"
)

// What is stopped on its way, as by max_run_time, must not pass for done.
func TestASplitThatIsStoppedIsNotDone(t *testing.T) {
	enough := errors.New("max_run_time exceeded")
	ctx, stop := context.WithCancelCause(t.Context())
	stop(enough)
	part := &kafka.Part{Span: kafka.Span{Start: 3, End: 7}}
	for name, tt := range map[string]struct {
		stream stream
		want   error
	}{
		"a service":          {stream{}, nil},
		"a split at its end": {stream{split: part, next: 7}, nil},
		"a split before it":  {stream{split: part, next: 6}, enough},
	} {
		if err := tt.stream.run(ctx); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}
