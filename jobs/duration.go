package jobs

import (
	"encoding/json"
	"fmt"
	"time"
)

// Duration is a time.Duration written as "10s", "15m" or "24h".
type Duration time.Duration

// D is the duration as the standard library knows it.
func (d Duration) D() time.Duration { return time.Duration(d) }

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON writes the duration's text form.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads the text form; a bare number is refused, since its unit
// would be a guess.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("a duration is written as text with its unit, like \"10s\" or \"15m\", not %s", b)
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is no duration; write it like \"10s\", \"15m\" or \"24h\"", s)
	}
	*d = Duration(v)
	return nil
}
