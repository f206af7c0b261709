package server

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/gateway/admission"
)

// choose takes each module's new package if author and approvers vouch for it.
// Until then the last one that was admitted goes on: files are replaced one after
// the other, and a new version without its signature is no reason to stop an old
// one that has everything. Revoking is done in the trust root, not by taking files
// away.
func (r *reloader) choose(ctx context.Context, a *admission.Admitter, candidates map[string]admission.Module) map[string]admission.Module {
	chosen := map[string]admission.Module{}
	for name, candidate := range candidates {
		chosen[name] = candidate
		last, ok := r.lastThatHolds(ctx, a, candidate)
		if !ok {
			continue
		}

		if refused := a.Holds(ctx, candidate); refused != nil {
			chosen[name] = last
			r.tellKept(refused)
		}
	}

	return chosen
}

// fallBack names modules whose new package has everything and is refused all the
// same, by policy or by the sandbox, and gives the last one that was admitted.
func (r *reloader) fallBack(ctx context.Context, a *admission.Admitter, chosen map[string]admission.Module, sets map[string]*admission.Set) map[string]admission.Module {
	again := map[string]admission.Module{}
	for _, set := range sets {
		for _, refused := range set.Refusals {
			if _, done := again[refused.Module]; done {
				continue
			}
			if last, ok := r.lastThatHolds(ctx, a, chosen[refused.Module]); ok {
				again[refused.Module] = last
				r.tellKept(refused.Refused)
			}
		}
	}

	return again
}

// lastThatHolds is the last package of a module that was admitted, if it is another
// one than this and author and approvers still vouch for it.
func (r *reloader) lastThatHolds(ctx context.Context, a *admission.Admitter, than admission.Module) (admission.Module, bool) {
	last, known := r.work.admitted[than.Name]
	if !known || samePackage(last, than) || a.Holds(ctx, last) != nil {
		return admission.Module{}, false
	}
	return last, true
}

func (r *reloader) tellKept(refused *admission.Refused) {
	r.log.Warn("the new version of a module may not run; the last one that was admitted goes on until its own grant ends",
		zap.String("module", refused.Module), zap.String("code", refused.Code), zap.Error(refused.Err))
}

func (r *reloader) tellRefusals(sets map[string]*admission.Set) {
	for _, set := range sets {
		for _, refused := range set.Refusals {
			r.log.Warn("module refused; its topics refuse everything", zap.String("module", refused.Module), zap.String("code", refused.Code),
				zap.String("binding", refused.Bindings[0]), zap.Int("bindings", len(refused.Bindings)), zap.Error(refused.Err))
		}
	}
}

// The pauses before somebody who could not be asked is asked again. Each is
// twice the one before.
const (
	firstPause = time.Second
	lastPause  = time.Minute
)

// tellUndecided plans to ask again who could not be asked, and raises the alarm. A
// deadline is no verdict: what still holds goes on, and where nothing holds yet
// producers are told to try again.
func (r *reloader) tellUndecided(sets map[string]*admission.Set) {
	w := &r.work
	var open []*admission.Refusal
	kept := 0
	for _, set := range sets {
		kept += len(set.Kept)
		open = append(open, set.Kept...)
		for _, refused := range set.Refusals {
			if refused.Undecided() {
				open = append(open, refused)
			}
		}
	}

	if len(open) == 0 {
		w.askAt = time.Time{}
		w.pause = 0
		if w.asking.over() {
			r.log.Info("everybody could be asked again")
		}
		return
	}

	w.pause = min(max(2*w.pause, firstPause), lastPause)
	w.askAt = r.now().Add(w.pause)
	if tell, _ := w.asking.ring(open[0].Err, r.now()); tell {
		r.log.Error("NOT DECIDED: a module could not be judged; bindings that still hold go on, others answer that producers try again",
			zap.String("module", open[0].Module), zap.String("code", open[0].Code), zap.Int("modules", len(open)), zap.Int("kept", kept),
			zap.Duration("again_in", w.pause), zap.Error(open[0].Err))
	}
}

// remember notes the packages that were admitted wherever they are bound, which
// a later, refused one may fall back to.
func (r *reloader) remember(chosen map[string]admission.Module, sets map[string]*admission.Set) {
	refused := map[string]bool{}
	for _, set := range sets {
		for _, one := range set.Refusals {
			refused[one.Module] = true
		}
	}

	for name, m := range chosen {
		if !refused[name] {
			r.work.admitted[name] = m
		}
	}
}
