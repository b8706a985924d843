package auth

import "time"

// Revocation names what shall die by exactly one selector: Token, JTI, SessionID, UserID, UserIDs, Role, APIKeyID,
// IssuedBefore or All. Nil and false mean not given.
type Revocation struct {
	Token        *string
	JTI          *string
	SessionID    *string
	UserID       *string
	UserIDs      []string
	Role         *string
	APIKeyID     *string
	IssuedBefore *time.Time
	All          bool
	// Keys extends IssuedBefore and All to API keys. By user and role they are always included, so false is refused
	// there, and true where one credential is named.
	Keys   *bool
	Reason string
}

// selectors returns the names of those that were given.
func (r Revocation) selectors() []string {
	var given []string
	for _, s := range []struct {
		name  string
		given bool
	}{
		{"token", r.Token != nil}, {"jti", r.JTI != nil}, {"session_id", r.SessionID != nil}, {"user_id", r.UserID != nil},
		{"user_ids", r.UserIDs != nil}, {"role", r.Role != nil}, {"api_key_id", r.APIKeyID != nil},
		{"issued_before", r.IssuedBefore != nil}, {"all", r.All},
	} {
		if s.given {
			given = append(given, s.name)
		}
	}
	return given
}

func (r Revocation) check() error {
	given := r.selectors()
	if len(given) != 1 {
		return &Error{Code: CodeInvalidRequest, Message: "exactly one selector is required: token, jti, session_id, " +
			"user_id, user_ids, role, api_key_id, issued_before or all"}
	}
	if err := checkText("reason", r.Reason); err != nil {
		return err
	}
	if err := r.checkKeys(given[0]); err != nil {
		return err
	}
	return r.checkIDs(given[0])
}

func (r Revocation) checkKeys(selector string) error {
	if r.Keys == nil {
		return nil
	}
	switch selector {
	case "user_id", "user_ids", "role":
		if !*r.Keys {
			return invalid("keys", "can't be false here: keys are included")
		}
	case "token", "jti", "session_id", "api_key_id":
		if *r.Keys {
			return invalid("keys", "goes with user_id, user_ids, role, issued_before and all only")
		}
	}
	return nil
}

func (r Revocation) checkIDs(selector string) error {
	for _, id := range []*string{r.JTI, r.SessionID, r.UserID, r.APIKeyID} {
		if id != nil {
			return checkID(selector, *id)
		}
	}
	switch {
	case r.UserIDs != nil:
		return checkUserIDs(r.UserIDs)
	case r.Role != nil:
		return checkName("role", *r.Role)
	case r.IssuedBefore != nil && r.IssuedBefore.UnixMicro() <= 0:
		return invalid("issued_before", "must be after 1970")
	}
	return nil
}

func checkUserIDs(ids []string) error {
	if len(ids) == 0 || len(ids) > maxUserIDs {
		return invalid("user_ids", "must have 1 to 1000 entries")
	}
	for _, id := range ids {
		if err := checkID("user_ids", id); err != nil {
			return err
		}
	}
	return nil
}
