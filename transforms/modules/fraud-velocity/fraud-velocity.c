// fraud-velocity: fraud, and the operator velocity, which counts how often a card, an
// account or a device came lately.
//
// It is a module of its own since counting needs host functions: whoever approves fraud
// does not sign that a module may remember anything.
#define FRAUD_VELOCITY
#include "../fraud/fraud.c"
