package consumer

import "time"

// SetMaxWait shortens the longest wait that is left to a consumer.
func SetMaxWait(c *Config, d time.Duration) { c.maxWait = d }

// SetSurveyEvery shortens the time between two looks at what waits.
func SetSurveyEvery(c *Config, d time.Duration) { c.surveyEvery = d }
