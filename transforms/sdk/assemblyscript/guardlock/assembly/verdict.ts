/**
 * A reason of the module's closed catalogue, which is part of the signed bytes. It is a
 * number in the shape of a pointer, so that no other number passes for one.
 */
@unmanaged
@final
export class Reason {}

/** A metric of the module's closed catalogue, in the same way. */
@unmanaged
@final
export class Metric {}

/**
 * Declares a reason, as `const name = reason("module.name")` at the top level of a file
 * of the module. The name is `[a-z0-9_.]{1,64}`. The compiler numbers them (`catalogue.js`).
 */
export function reason<T>(name: T): Reason {
  if (!isInteger<T>()) ERROR("a reason is declared as: const name = reason(\"module.name\"), at the top level");
  return changetype<Reason>(<usize>name);
}

/** Declares what the module counts with `host.metric`, in the same way. */
export function metric<T>(name: T): Metric {
  if (!isInteger<T>()) ERROR("a metric is declared as: const name = metric(\"module.name\"), at the top level");
  return changetype<Metric>(<usize>name);
}

/** What is to become of a record. It is a number, too: the verdict, the route, the reason. */
@unmanaged
@final
export class Verdict {
  /** It is stored: as it came, or as it was changed. */
  @inline
  static pass(): Verdict {
    return verdict(PASS, changetype<Reason>(0));
  }

  /** It is stored as it was changed, for a reason. */
  @inline
  static modify(reason: Reason): Verdict {
    return verdict(PASS, reason);
  }

  /** It is acknowledged and not stored. */
  @inline
  static drop(reason: Reason): Verdict {
    return verdict(DROP, reason);
  }

  /** Its whole batch is refused, and the producer told which record and why. */
  @inline
  static reject(reason: Reason): Verdict {
    return verdict(REJECT, reason);
  }

  /** It is stored in a granted topic instead: the index in the grant's routes. */
  @inline
  static route(index: u8, reason: Reason): Verdict {
    return verdict(ROUTE | <usize>index << 8, reason);
  }

  /** The transform cannot go on. The batch fails. */
  @inline
  static fail(): Verdict {
    return verdict(FAIL, changetype<Reason>(0));
  }
}

@inline
export const PASS: usize = 0;
@inline
export const REJECT: usize = 1;
@inline
export const DROP: usize = 2;
@inline
export const ROUTE: usize = 3;
@inline
export const FAIL: usize = 0xff;

@inline
function verdict(kind: usize, reason: Reason): Verdict {
  return changetype<Verdict>(kind | changetype<usize>(reason) << 16);
}
