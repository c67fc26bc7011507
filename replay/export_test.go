package replay

// JudgeRead is judgeRead, for tests of the verdicts.
func (r *Replayer) JudgeRead(question string, err error) error { return r.judgeRead(question, err) }

// JudgeWrite is judgeWrite, for tests of the verdicts.
func (r *Replayer) JudgeWrite(subject string, err error) error { return r.judgeWrite(subject, err) }
