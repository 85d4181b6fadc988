// The decoder's two non-linearities, each with its derivative; no kernel spells them out itself.
//
// Rule: a backward kernel reads only what the forward has kept. Of the activation that is the output f, never its input
// z, so that its derivative must follow from f. Of the modulation it is the derivative itself, as it does not follow
// from s.
#ifndef ARASFSR_ACTIVATION_H
#define ARASFSR_ACTIVATION_H

#include "numerics.h"

namespace arasfsr {

// f = relu(z); NaN propagates.
ARASFSR_DEVICE float activation(float z) { return hw::relu(z); }

// Whether the activation with output f passes its gradient on: its derivative is 1 or 0, and a kernel may store it in a
// bit.
ARASFSR_DEVICE bool activation_passes(float f) { return f > 0.0f; }

// The gradient of z, from the derivative and `grad`, the gradient of f.
ARASFSR_DEVICE float gradient_if(bool passes, float grad) { return passes ? grad : 0.0f; }

// The gradient of z, from f and `grad`, the gradient of f.
ARASFSR_DEVICE float activation_backward(float f, float grad) { return gradient_if(activation_passes(f), grad); }

// s = sin(angle), as accurate as format T stores it.
template <class T>
class Modulation {
  public:
    explicit ARASFSR_DEVICE Modulation(float angle) : angle(angle) {}
    ARASFSR_DEVICE float value() const { return angle.sine(); }
    ARASFSR_DEVICE float derivative() const { return angle.cosine(); }

  private:
    const Angle<T> angle;
};

// The gradient of the angle, from the derivative and `grad`, the gradient of s.
ARASFSR_DEVICE float modulation_backward(float derivative, float grad) { return grad * derivative; }

}  // namespace arasfsr
#endif
