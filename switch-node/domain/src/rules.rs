//! The rules of money: what the switch promises, decided to the letter. Code and tests name them R1 to R25; a test of
//! the pure core is called after the rule it shows (`r12_…`). A rule that turns out wrong is changed in
//! `ARCHITECTURE.md` with its reason, and then here, never silently.
//!
//! Money is lost in two ways: something is charged that nobody is told of, or something is told that was not charged.
//! Every rule below closes one hole through which one of the two could happen while a node, a disk or a wire dies.
//!
//! # What is sent, and what is told
//!
//! **R1, a request is sent at most once.** Leave to send is a [`Dispatch`](crate::book::Dispatch). Only applying an
//! [`Open`](crate::entry::Open) or a [`Failover`](crate::entry::Failover) makes one, and only the process that proposed
//! it, in the term in which it proposed it ([`Owner`](crate::id::Owner)), may use it. Nothing in the table tells
//! another process to send a request: the book's [`Effect`](crate::effect::Effect)s have no such variant, and a new
//! leader finds only open attempts to time out and lanes to repeat ([`OwedKind`](crate::table::OwedKind)).
//!
//! **R2, the attempt outlives the call.** Once an `Open` is proposed, its path runs in a task of the node. A gateway
//! that cancels, disconnects or runs out of time ends its own waiting, never the attempt.
//!
//! **R3, what is told.** A gateway is told one of these, and each is a committed entry: a network's answer; a decline
//! of the switch because nothing left the cluster; TIMED_OUT, where the same entry creates the reversal; or, where
//! nothing terminal is committed, an error that promises nothing. What was told is kept as
//! [`Told`](crate::outcome::Told), replayed unchanged and made into a [`Settled`](crate::book::Settled) by the book
//! alone. What goes on afterwards is the state of the reversal, a field of its own. A call that leaves less than the
//! attempt timer and [a margin](crate::limits::DEADLINE_MARGIN_MS) is refused before the journal.
//!
//! **R4, hand-over.** A leader that hands over stops sending for good in that term; what it had not written becomes
//! [`NotSent::HandOver`](crate::outcome::NotSent::HandOver). An answer that a deposed owner still receives is passed on
//! as evidence. The first entry wins: evidence about an open attempt decides it, whoever brings it; about a closed one
//! it is a late answer. No entry is rejected for its term alone. A new leader times an inherited attempt out at its
//! deadline, and earlier only where the owner is known to be gone
//! ([`Doubt::OwnerGone`](crate::outcome::Doubt::OwnerGone)).
//!
//! **R5, slots.** A follow-up lives where its original lives: its key is (gateway, original, request id), see
//! [`Key::Request`](crate::table::Key::Request), so the same request id may be used for follow-ups of different
//! originals. A [`TransactionId`](crate::id::TransactionId) carries the [`Slot`](crate::id::Slot) of its first key, a
//! fixed function without a secret, so that one group can become many.
//!
//! **R6, operations.** Authorizations, increments, refunds and verifications are requests: the network may refuse them,
//! they are told when the answer is committed and are never repeated; silence reverses the one that was not answered
//! and nothing else, and leaves a verification unresolved. Captures are advices and voids are reversals: decided by
//! their own entry, repeated until acknowledged by whatever leader there is ([`Lane`](crate::transaction::Lane)). With
//! [`CaptureMode::Automatic`](crate::transaction::CaptureMode::Automatic) the approval captures in the same entry, and
//! may be voided until the day of its creation ends.
//!
//! **R7, what is kept of a card.** The number, its expiry and an allow-list of chip data, sealed
//! ([`CardReference`](crate::card::CardReference), [`filter_icc_data`](crate::card::filter_icc_data)). Verification
//! values, PIN blocks, tracks and cryptograms live in [`Card`](crate::card::Card), which cannot be printed or copied
//! and is wiped. Free text that holds the number is refused.
//!
//! **R8, time.** The book knows [`LogTime`](crate::time::LogTime) only: the leader assigns it, entries carry it, it
//! never runs backwards. Timers are monotonic and start when the `Open` is applied. Leaders say what their wall clocks show
//! ([`ClockReading`](crate::entry::ClockReading)); more than an hour from log time is a
//! [`Disagreement`](crate::table::Disagreement), which stops whatever goes by age until an operator's
//! [`ClockAcceptance`](crate::entry::ClockAcceptance).
//!
//! **R9, retention.** A key lives as long as its transaction, which [`Book::may_forget`](crate::book::Book::may_forget)
//! lets go 400 days after its last event, or what the directory says, 180 at least; nothing open, parked, in doubt,
//! capturable or refundable expires. A key first sent before that is
//! [`KeyTooOld`](crate::refusal::Refusal::KeyTooOld): the switch may have forgotten it, so it may not be taken for new.
//! After [`valid_until`](crate::transaction::Transaction::valid_until) captures and increments are refused; an
//! [`Expire`](crate::entry::Expire) then closes what still holds money and, where the profile asks, releases the hold
//! by reversal. A hold that it left standing may still be voided.
//!
//! **R10, tenants.** Every row and every command names the [`GatewayId`](crate::id::GatewayId). Transactions are looked
//! up under it, so that a foreign id is not refused but missing: [`NotFound`](crate::refusal::Refusal::NotFound), word
//! for word. Merchants and principals belong to one gateway ([`Directory::apply`](crate::directory::Directory::apply)).
//!
//! # Sums
//!
//! **R11, sums.** [`Transaction::totals`](crate::transaction::Transaction::totals) adds up what was committed, each
//! time anew. Authorized is what was approved and is not being reversed; an increment counts once it is approved. A
//! refund counts from its `Open` until a decline, a not-sent or a *final* reversal, parked included; so does the use of
//! a day's limit. Whatever a gateway was told, a refund that the network may hold counts
//! ([`Attempt::in_doubt`](crate::transaction::Attempt::in_doubt)), and what was given back is taken again when a late
//! approval or a late send brings it back into doubt. What may be refunded is what stands captured, whatever was told of
//! it. Captures stay within what is authorized and the
//! tolerance, [rounded down](crate::money::Amount::raised_by_basis_points); the final one releases the remainder in its
//! own entry. A follow-up has its original's currency and an amount above zero; no amount and no sum passes
//! [`AMOUNT_MAX`](crate::money::AMOUNT_MAX).
//!
//! **R12, voids.** A void of an open attempt marks it
//! ([`void_requested`](crate::transaction::Operation::void_requested)); an approval that is applied later is reversed
//! in its entry and told VOIDED, to the waiter and to every replay. An approval that was applied before stays told, and
//! the void reverses it. A void after a time-out joins the reversal that is there: an attempt has one lane. After a
//! capture, a sale's own day excepted, it is [`UseRefund`](crate::refusal::Refusal::UseRefund). A capture, increment or
//! refund of an open original is [`InDoubt`](crate::refusal::Refusal::InDoubt) and may be tried again. A void of a key
//! that was never seen leaves a [tombstone](crate::table::RequestRow::Tombstone): its authorization is declined and
//! nothing is sent.
//!
//! # Networks
//!
//! **R13, when a reversal is final.** A reversal may overtake its original. "Not found" is final only where no approval
//! was seen and the network said it twice, the second time to a copy sent when the original could no longer be on its
//! way: the in-flight time after the deadline, and after the making of this generation where a late send made it. An
//! acknowledgement is final at once where the profile says that it proves a match, or where an approval is known; else
//! it needs the same repetition, and "duplicate" proves no more than the acknowledgement of its first copy did. A late
//! approval or a late send makes every earlier acknowledgement worthless: one more reversal, with an identity of its
//! own, as the next [`generation`](crate::transaction::Lane::generation); answers to earlier ones are ignored. Each
//! distinct [approval](crate::transaction::SeenApproval) is reversed, and acknowledged, by itself: those that come while
//! the reversal of an earlier one is under way wait in their order, and each acknowledgement starts the next
//! ([`approvals_reversed`](crate::transaction::Reversal::approvals_reversed)). One whose reversal is not found, and not found
//! again after the in-flight time, lets the next go before it
//! ([`passed_over`](crate::transaction::Reversal::passed_over)): it is asked for again after them, and ends by an
//! acknowledgement or, parked, by two persons. A copy of an approval makes none. A second
//! approval of what was told and stands is an alarm and reverses nothing, for the one reversal would undo the first
//! approval too; a void undoes both.
//!
//! **R14, identity on the wire.** Link, transmission time, trace number and reference number
//! ([`WireIdentity`](crate::transaction::WireIdentity)) are fixed by the entry that makes a message; repeats are equal.
//! A [`Stan`](crate::id::Stan) is not given out while an open attempt or an unacknowledged lane carries it, or an
//! earlier generation of such a lane that nobody acknowledged ([`superseded`](crate::transaction::Reversal::superseded));
//! it wraps around past those. An [`Rrn`](crate::id::Rrn) is never given out twice, and a reversal carries its original's.
//!
//! **R15, forwarding.** Sealed card data is opened on the leader only; a follower forwards it sealed, one hop, and
//! after an error behind the first byte asks by key and fingerprint.
//!
//! **R16, fingerprints.** The row keeps a keyed digest of what was asked and its key's version
//! ([`Fingerprint`](crate::transaction::Fingerprint)). The same key with another digest is
//! [`KeyReused`](crate::refusal::Refusal::KeyReused); under another version the caller is told which one to compute
//! ([`FingerprintVersion`](crate::refusal::Refusal::FingerprintVersion)). A known key is answered before anything else
//! is judged, from its row, or [waited for](crate::book::Reply::InFlight) while it is open.
//!
//! **R17, keys and attempts.** A [`Refusal`](crate::refusal::Refusal) stores nothing: the key may be used again. A
//! stored `Open` is final for its key, whatever its end. Asking another network is one entry that closes attempt n, not
//! sent or with a permitted no, and opens n + 1; only the owner of n may do it, never a voided operation, never past
//! the next network's bounds. Where it may not go on, its evidence counts by itself.
//!
//! **R18, neither yes nor no.** The map of response codes is total
//! ([`ResponseCode::meaning`](crate::outcome::ResponseCode::meaning)). An unmapped code, or an approval for more or in
//! another currency, is an invalid answer: reversed and told TIMED_OUT. So is an approval that does not say for how much:
//! code 10, which says that it is less, without an amount, and any approval of nothing where something was asked; it is
//! never taken for a yes to the whole. Those that say yes count as seen approvals all the same (R13). Less than asked is a partial approval whatever
//! the code; one that the gateway did not declare is reversed in the entry that records it and told as a decline of the
//! switch. A reversal carries the requested amount and, where it is known in the transaction's currency, the approved
//! one. A referral is a decline.
//!
//! # Streams, events, doubt
//!
//! **R19, streams.** Each message of a stream has its own key, deadline and trace and is judged alone.
//!
//! **R20, watching.** Every change of what is told, of a reversal and of an advice is an
//! [`EventRow`](crate::table::EventRow), in the order of the transaction's revisions and without gaps; nothing else is
//! one. They are kept for [30 days](crate::limits::EVENTS_KEPT_MS), and the table knows the last that is gone.
//!
//! **R21, the auditor's equation.** Held = approved − reversed − released − captured, per transaction, in our books and
//! the network's ([`Totals`](crate::transaction::Totals)). What was told agrees with both.
//!
//! **R22, not everything is reversed.** A verification, and a network whose profile says
//! [`Never`](crate::transaction::ReversalPolicy::Never), ends [`Unresolved`](crate::outcome::Decision::Unresolved):
//! nobody knows and nothing is owed. A void of such a payment is refused, for it would promise what cannot be done, and
//! so a partial approval that nobody asked for is unresolved there too. An expired card is judged at the month's end in
//! the last time zone ([`Expiry::has_passed`](crate::card::Expiry::has_passed)); the check digit is a property of the
//! card range.
//!
//! **R23, doubt is bounded.** Lanes that are not final are counted per network, with their money
//! ([`DoubtRow`](crate::table::DoubtRow)). At its bound a network takes no new request, refunds and fail-overs
//! included. Answers, time-outs, captures, voids and acknowledgements always commit: what is owed is never refused.
//!
//! **R24, directory and book.** An `Open` carries the version of the directory, the
//! [`Terms`](crate::transaction::Terms) and the limit it was decided under, so that apply is pure. A day's limit is
//! reserved at `Open` and released by R11, on the UTC day of log time on which it was reserved
//! ([`Key::DayUse`](crate::table::Key::DayUse)), and reserved there again for what comes back into doubt. Reversals and advices ignore kill switches.
//!
//! **R25, parked.** A lane is parked by the network's refusal or the end of its budget, nothing else, and is still
//! owed: it counts, it is tried at a slow rate unless it was refused, and an acknowledgement still ends it. An
//! operator proposes whether the money [stands](crate::transaction::Resolution::Stands), with evidence, and another one confirms
//! or withdraws it; a proposal ends by itself after a day. The confirmation corrects the sums, is an event, and never alters what
//! was told.
//! Money that stands can be given back like any other: a hold by a void, a sale by a void on its day or by a refund.
//! A gateway that sees TIMED_OUT and PARKED knows that the cardholder may be charged.
