// gdpr-keys: gdpr, and what can be undone with a key: encrypt, decrypt, tokenise, FF1.
//
// It is a module of its own since it needs more host functions, which an approver
// grants one by one: whoever only masks does not sign that a module may decrypt.
#define GDPR_KEYS
#include "../gdpr/gdpr.c"
