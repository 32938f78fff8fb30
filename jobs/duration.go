package jobs

import "tidemill/jobs/schedule"

// Duration is a time.Duration written as "10s", "15m" or "24h".
type Duration = schedule.Duration
